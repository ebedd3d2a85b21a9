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

// Zeroed, on a cache line; large blocks on huge pages where the system has them: a gather touches pages at random.
Aligned<uint8_t> aligned(size_t bytes);

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
    const uint8_t* bytes = nullptr;
    size_t size = 0;
    Aligned<uint8_t> own;  // what `bytes` points to, until `gather_weights` takes them

    size_t slice_bytes(size_t slice) const { return (slice + 1 < slices.size() ? slices[slice + 1].offset : size) - slices[slice].offset; }

    static PackedWeights pack(const int8_t* weight, int channels_out, int channels_in, int groups, int kernel_y, int kernel_x);
};

// Moves the bytes of all of them into one block.
Aligned<uint8_t> gather_weights(const std::vector<PackedWeights*>& all);

}  // namespace lmht
