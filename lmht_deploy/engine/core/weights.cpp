#include "weights.hpp"

#include <algorithm>
#include <cstring>

#include "kernels.hpp"

namespace lmht {

namespace {

// See the drawing in weights.hpp.
int channel_of_byte(int byte) {
    constexpr int FIRST[4] = {0, 32, 16, 48};
    return byte / 4 + FIRST[byte % 4];
}

int byte_of_channel(int channel) {
    constexpr int BYTE[4] = {0, 2, 1, 3};
    return channel % 16 * 4 + BYTE[channel / 16];
}

// Where the weight of a row and a channel lies, if `slots` slots of a channel are side by side.
size_t index_in_rows(size_t row, int channel, int slots) {
    return (row / slots * LANES + channel) * slots + row % slots;
}

// Slots of a run, filled up to whole products.
size_t filled_up(int slots) {
    return size_t(slots + DEPTH - 1) / DEPTH * DEPTH;
}

// The row in the order of an image of an input channel at a place, which counts columns of the
// kernel from top to bottom.
size_t row_of_image(const WeightShape& shape, const Slice& slice, size_t place, int channel) {
    const size_t ky = place % shape.kernel_y, kx = place / shape.kernel_y;
    const bool one_place = slice.run_slots == slice.channels;
    const size_t run = one_place ? ky * shape.kernel_x + kx : ky;
    const size_t slot = (one_place ? 0 : kx * slice.channels) + channel;
    return run * filled_up(slice.run_slots) + slot;
}

// The same in tiles, of a slice of `bytes` bytes.
size_t index_in_tiles(size_t row, int channel, size_t bytes) {
    constexpr size_t TILE_BYTES = size_t(DEPTH) * TILE_SIZE, PAIR = 2 * TILE_SIZE;
    const size_t half = channel / PAIR * (bytes / 2);
    const size_t tile = row / DEPTH * 2 + channel % PAIR / TILE_SIZE;
    const size_t group = row % DEPTH / QUAD * TILE_SIZE + channel % TILE_SIZE;
    return half + tile * TILE_BYTES + group * QUAD + row % QUAD;
}

}  // namespace

int PackedWeights::dot_slots() const {
    return order == QuadOrder::Pairs ? 2 * QUAD : QUAD;
}

int PackedWeights::max_channels() const {
    int channels = 0;
    for (const Slice& slice : slices) channels = std::max(channels, slice.channels);
    return channels;
}

PackedWeights PackedWeights::pack(const int8_t* weight, int channels_out, int channels_in,
                                  int groups, int kernel_y, int kernel_x, QuadOrder order,
                                  bool side_by_side) {
    const WeightShape shape{
        channels_out, channels_out / groups, channels_in, channels_in / groups, kernel_y, kernel_x};
    PackedWeights packed;
    packed.order = order;
    for (int first = 0; first < channels_out; first += LANES)
        packed.add_slice(shape, first, std::min(first + LANES, channels_out) - 1, side_by_side);
    packed.own = aligned(packed.size + packed.quads_size);
    packed.bytes = packed.own.get();
    std::memset(packed.own.get(), 128, packed.size);
    for (int o = 0; o < channels_out; ++o) packed.pack_rows(shape, weight, o);
    if (order != QuadOrder::None) packed.pack_quads(shape);
    return packed;
}

// The slice of the output channels from `first` to `last`.
void PackedWeights::add_slice(const WeightShape& shape, int first, int last, bool side_by_side) {
    Slice slice;
    slice.channel0 = shape.group_start(first);
    slice.channels = shape.group_start(last) + shape.in - slice.channel0;
    const size_t places = size_t(shape.kernel_x) * shape.kernel_y;
    const bool whole = side_by_side && slice.channels == shape.channels_in;
    slice.run_slots = slice.channels * (whole ? shape.kernel_x : 1);
    const size_t runs = places * slice.channels / slice.run_slots;
    const size_t rows = order == QuadOrder::None    ? 0
                        : order == QuadOrder::Tiles ? runs * filled_up(slice.run_slots)
                                                    : filled_up(int(places) * slice.channels);
    slice.pitch = slice.channels + (places > 1 && slice.channels >= LANES ? SKEW : 0);
    slice.offset = size;
    slice.bytes = places * slice.pitch * LANES;
    slice.quads_offset = quads_size;
    slice.quads_bytes = rows * LANES;
    size += slice.bytes;
    quads_size += slice.quads_bytes;
    slices.push_back(slice);
}

// The weights of output channel o: one byte of each row.
void PackedWeights::pack_rows(const WeightShape& shape, const int8_t* weight, int o) {
    const Slice& slice = slices[o / LANES];
    const int first_row = shape.group_start(o) - slice.channel0;
    uint8_t* const to = own.get() + slice.offset + byte_of_channel(o % LANES);
    for (int c = 0; c < shape.in; ++c)
        for (int ky = 0; ky < shape.kernel_y; ++ky)
            for (int kx = 0; kx < shape.kernel_x; ++kx) {
                const size_t place = size_t(kx) * shape.kernel_y + ky;
                const size_t row = place * slice.pitch + first_row + c;
                to[row * LANES] = uint8_t(weight[shape.index(o, c, ky, kx)] + 128);
            }
}

size_t PackedWeights::index_of(const WeightShape& shape, const Slice& slice, size_t place,
                               int channel, int lane) const {
    if (order != QuadOrder::Tiles)
        return index_in_rows(place * slice.channels + channel, lane, dot_slots());
    return index_in_tiles(row_of_image(shape, slice, place, channel), lane, slice.quads_bytes);
}

void PackedWeights::pack_quads(const WeightShape& shape) {
    int8_t* to = reinterpret_cast<int8_t*>(own.get() + size);
    quads = to;
    for (const Slice& slice : slices)
        for (size_t i = 0; i < slice.bytes; ++i) {
            const size_t place = i / LANES / slice.pitch, channel = i / LANES % slice.pitch;
            if (channel >= size_t(slice.channels)) continue;
            const size_t at =
                index_of(shape, slice, place, int(channel), channel_of_byte(i % LANES));
            to[slice.quads_offset + at] = int8_t(bytes[slice.offset + i] ^ 0x80);
        }
}

Aligned<uint8_t> gather_weights(const std::vector<PackedWeights*>& all) {
    size_t bytes = 0;
    for (const PackedWeights* weights : all) bytes += weights->size + weights->quads_size;
    Aligned<uint8_t> block = aligned(bytes);
    uint8_t* at = block.get();
    for (PackedWeights* weights : all) {
        if (!weights->own) continue;
        std::memcpy(at, weights->own.get(), weights->size + weights->quads_size);
        weights->bytes = at;
        if (weights->quads) weights->quads = reinterpret_cast<int8_t*>(at + weights->size);
        weights->own.reset();
        at += weights->size + weights->quads_size;
    }
    return block;
}

}  // namespace lmht
