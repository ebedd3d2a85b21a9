// What goes wrong in the library: a status of lmht.h and a message. It is caught by `guarded` in
// api.hpp.
#pragma once
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "include/lmht.h"

namespace lmht::library {

class Error : public std::runtime_error {
public:
    Error(lmht_status status, const std::string& message)
        : std::runtime_error(message), status(status) {}
    const lmht_status status;
};

inline void require_argument(bool holds, const char* message) {
    if (!holds) throw Error(LMHT_INVALID_ARGUMENT, message);
}

inline void require_file(bool holds, const std::string& message) {
    if (!holds) throw Error(LMHT_INVALID_FILE, message);
}

// a + b and a * b of numbers of a file, which are too large where 64 bits do not hold the result.
inline int64_t sum(int64_t a, int64_t b) {
    int64_t result;
    require_file(!__builtin_add_overflow(a, b, &result), "a number of the network is too large");
    return result;
}
inline int64_t product(int64_t a, int64_t b) {
    int64_t result;
    require_file(!__builtin_mul_overflow(a, b, &result), "a number of the network is too large");
    return result;
}

}  // namespace lmht::library
