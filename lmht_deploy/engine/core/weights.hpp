// Weights as the kernels read them: slices of 64 output channels.
#pragma once
#include <cstdint>
#include <vector>

#include "native/aligned.hpp"

namespace lmht {

// Rows that nothing reads between two places of the kernel. Without them, the rows of one channel
// would share one set of a first-level cache, and some channels fire much more often than others.
constexpr int SKEW = 7;

// Weights [channels_out][in][kernel_y][kernel_x], in groups of `out` output and `in` input
// channels.
struct WeightShape {
    int channels_out, out, channels_in, in, kernel_y, kernel_x;

    int group_start(int o) const { return o / out * in; }  // first input channel of o's group
    size_t index(int o, int c, int ky, int kx) const {
        return ((size_t(o) * in + c) * kernel_y + ky) * kernel_x + kx;
    }
};

// 64 output channels and the range of input channels that any of them reads.
struct Slice {
    int channel0, channels;
    int pitch;             // rows from one place of the kernel to the next
    int run_slots;         // that lie side by side in an image: of one place, or of a kernel row
    size_t offset, bytes;  // of its rows
    size_t quads_offset, quads_bytes;
};

// The order of the weights for the dense path, if there are any. What one product reads is in one
// piece.
enum class QuadOrder : uint8_t {
    None,
    Rows,   // [quad][64 channels][4], for dot products
    Pairs,  // [pair of quads][64 channels][8], for dot products of eight
    Tiles,  // [half of the channels][16 quads][2 tiles][quad][16 channels][4], for tiles; the rows
            // in the order [kernel row][kernel column][channel] of an image
};

// Weights in two forms. For lists, a row of 64 bytes per input of the receptive field, in the order
// [kernel column][kernel row][channel] of the lists. A byte holds weight + 128, so that sums need
// no sign. The order of the output channels within a row makes sums of 16-bit words come out in
// order, for vectors of any width:
//
//     byte            0    1    2    3  |  4    5    6    7  | ... | 60   61   62   63
//     channel         0   32   16   48  |  1   33   17   49  | ... | 15   47   31   63
//     16-bit word       word 0    word 1|    word 2    word 3|
//     lower bytes of even words: channels 0..15, of odd words: 16..31; upper bytes: 32..47, 48..63
//
// For the dense path, four rows at a time, signed, without the gaps, and with zeros up to a
// multiple of 64 rows: `quads` [rows / 4][channel][4], or [rows / 8][channel][8], or in tiles,
// where each run of slots that lie side by side in an image is filled up.
struct PackedWeights {
    std::vector<Slice> slices;
    size_t size = 0, quads_size = 0;
    const uint8_t* bytes = nullptr;
    QuadOrder order = QuadOrder::None;
    const int8_t* quads = nullptr;  // null for QuadOrder::None
    Aligned<uint8_t> own;           // what both point to, until `gather_weights` takes them

    bool tiled() const { return order == QuadOrder::Tiles; }
    int dot_slots() const;     // slots of a channel that lie side by side in `quads`
    int max_channels() const;  // input channels of a slice, at most

    // `side_by_side`: whether the columns under a kernel row lie side by side in an image.
    static PackedWeights pack(const int8_t* weight, int channels_out, int channels_in, int groups,
                              int kernel_y, int kernel_x, QuadOrder order, bool side_by_side);

private:
    void add_slice(const WeightShape& shape, int first, int last, bool side_by_side);
    void pack_rows(const WeightShape& shape, const int8_t* weight, int o);
    void pack_quads(const WeightShape& shape);
    size_t index_of(const WeightShape& shape, const Slice& slice, size_t place, int channel,
                    int lane) const;
};

// Moves the bytes of all of them into one block.
Aligned<uint8_t> gather_weights(const std::vector<PackedWeights*>& all);

}  // namespace lmht
