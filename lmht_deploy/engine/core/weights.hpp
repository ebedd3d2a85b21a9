// Packed weights: slices of 64 output channels, one row of 64 bytes for every input of the
// receptive field.
#pragma once
#include <cstdint>
#include <vector>

#include "native/aligned.hpp"

namespace lmht {

constexpr int SKEW = 7;

// 64 output channels and the range of input channels that any of them reads.
struct Slice {
    int channel0, channels;
    int pitch;             // rows from one place of the kernel to the next
    size_t offset, bytes;  // of its rows
    size_t quads_offset, quads_bytes;
};

// Rows of a slice are ordered [kernel column][kernel row][channel], as the lists are. A byte holds
// weight + 128, so that sums need no sign; group d of four bytes holds output channels d, d + 32, d
// + 16 and d + 48, so that adding 16-bit words, and halves of them, gives the channels in order for
// vectors of any width. Between the places of the kernel lie `SKEW` rows that nothing reads: the
// rows of one channel would else share one set of a first-level cache, and some channels fire much
// more than others.
//
// The dense path reads the same weights in another form: fours of rows, `quads` [rows / 4 rounded
// up][channel][4], signed.
struct PackedWeights {
    std::vector<Slice> slices;
    size_t size = 0, quads_size = 0;
    const uint8_t* bytes = nullptr;
    const int8_t* quads = nullptr;  // null where they were not asked for
    Aligned<uint8_t> own;           // what both point to, until `gather_weights` takes them

    int max_channels() const;  // input channels of a slice, at most

    static PackedWeights pack(const int8_t* weight, int channels_out, int channels_in, int groups,
                              int kernel_y, int kernel_x, bool quads);

private:
    void pack_quads();
};

// Moves the bytes of all of them into one block.
Aligned<uint8_t> gather_weights(const std::vector<PackedWeights*>& all);

}  // namespace lmht
