// One event, in the two forms in which it comes to the door.
#pragma once
#include <cstdint>

namespace lmht::events {

#pragma pack(push, 1)
struct Event {  // arrays.EVENT
    int64_t t;
    uint16_t x, y;
    uint8_t p;
};
#pragma pack(pop)
static_assert(sizeof(Event) == 13);

struct Wide {  // one row of int64 [n, 4]: an event of a foreign dtype
    int64_t t, x, y, p;
};

struct Size {
    int64_t height, width;
};

}  // namespace lmht::events
