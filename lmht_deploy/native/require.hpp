#pragma once
#include <stdexcept>

namespace lmht {

// Python sees a ValueError.
inline void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

}  // namespace lmht
