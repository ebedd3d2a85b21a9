// Events in the two forms in which Python passes them.
#pragma once
#include <cstdint>

namespace lmht::events {

#pragma pack(push, 1)
struct Event {  // EVENT of events/arrays.py
    int64_t t;  // microseconds
    uint16_t x, y;
    uint8_t p;  // 0 OFF, 1 ON
};
#pragma pack(pop)
static_assert(sizeof(Event) == 13);

// One row of int64 [n, 4]: an event whose fields had other types.
struct WideEvent {
    int64_t t, x, y, p;
};

struct Size {
    int64_t height, width;
};

}  // namespace lmht::events
