// Packed weights: slices of 64 output channels, one row of 64 bytes for every input of the receptive field.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace lmht {

struct FreeAligned {
    void operator()(void* p) const;
};
template <class T>
using Aligned = std::unique_ptr<T[], FreeAligned>;

template <class T>
Aligned<T> aligned(size_t n);  // zeroed, on a cache line

// 64 output channels and the range of input channels that any of them reads.
struct Slice {
    int channel0, channels;
    size_t offset;  // of its first row, in bytes
};

// Rows of a slice are ordered [kernel column][kernel row][channel], as the lists are. A byte holds weight + 128, so
// that sums need no sign; group d of four bytes holds output channels d, d + 32, d + 16 and d + 48, so that adding
// 16-bit words, and halves of them, gives the channels in order for vectors of any width.
struct PackedWeights {
    std::vector<Slice> slices;
    Aligned<uint8_t> bytes;
    size_t size = 0;
    int exponent = 0;

    static PackedWeights pack(const int8_t* weight, int channels_out, int channels_in, int groups, int kernel_y, int kernel_x, int exponent);
};

}  // namespace lmht
