// Sizes, and where neurons lie in memory.
#pragma once
#include <cstddef>

#include "kernels.hpp"

namespace lmht::netx {

// Along the rows and along the columns.
struct Pair {
    int y, x;
};

// Channels, rows and columns of a layer; a dense layer has one row and one column.
//
// At the border of this core neurons lie in the order (C, H, W). Inside, channels are last and
// padded, and so are rows:
//
//   row y:  | x = 0: c0 c1 c2 . . . . . | x = 1: c0 c1 c2 . . . . . | ... | . . |
//           |<------- pitch() --------->|                                        |
//           |<------------------------------ row() ----------------------------->|
struct Shape {
    int channels, height, width;
    bool packed = false;  // channels are not padded: no convolution adds to them

    int pitch() const { return packed ? channels : (channels + LANES - 1) / LANES * LANES; }
    size_t row() const { return (size_t(width) * pitch() + ROW_LANES - 1) / ROW_LANES * ROW_LANES; }
    size_t padded() const { return height * row(); }
    size_t plane() const { return size_t(height) * width; }
    size_t size() const { return channels * plane(); }

    // Where element `i` of the order (C, H, W) lies.
    size_t index(size_t i) const {
        const size_t at = i % plane();
        return at / width * row() + at % width * pitch() + i / plane();
    }
};

}  // namespace lmht::netx
