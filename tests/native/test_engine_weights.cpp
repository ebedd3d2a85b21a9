#include <random>

#include "check.hpp"
#include "engine/core/kernels.hpp"
#include "engine/core/weights.hpp"

using namespace lmht;

static constexpr int KERNEL_Y = 2, KERNEL_X = 3;

struct Shape {
    int channels_out, channels_in, groups;
};
static const Shape SHAPES[] = {{1, 1, 1}, {64, 64, 1}, {70, 3, 1}, {130, 70, 2}, {96, 96, 32}};

static std::vector<int8_t> random_weights(const Shape& shape) {
    std::mt19937 random(1);
    std::vector<int8_t> weight(size_t(shape.channels_out) * (shape.channels_in / shape.groups) *
                               KERNEL_Y * KERNEL_X);
    for (int8_t& w : weight) w = int8_t(random() % 256 - 128);
    return weight;
}

// The weight from input channel c to output channel o, zero outside of its group.
static int expected(const Shape& shape, const std::vector<int8_t>& weight, int o, int c, int ky,
                    int kx) {
    const int in = shape.channels_in / shape.groups, out = shape.channels_out / shape.groups;
    if (o >= shape.channels_out || c / in != o / out) return 0;
    return weight[((size_t(o) * in + c % in) * KERNEL_Y + ky) * KERNEL_X + kx];
}

// Byte of an output channel within a row, as weights.hpp draws it.
static int byte_of(int channel) {
    return channel % 16 * 4 + (channel / 16 == 1 ? 2 : channel / 16 == 2 ? 1 : channel / 16);
}

// The place of an input channel in the order of the quads of a slice.
static size_t slot_of(const Slice& slice, QuadOrder order, int ky, int kx, int c) {
    if (order != QuadOrder::Tiles) return size_t(kx * KERNEL_Y + ky) * slice.channels + c;
    const size_t run_pitch = size_t(slice.run_slots + DEPTH - 1) / DEPTH * DEPTH;
    if (slice.run_slots == slice.channels) return (ky * KERNEL_X + kx) * run_pitch + c;
    return ky * run_pitch + kx * slice.channels + c;
}

// Where the weight of a slot and an output channel lies in the quads of a slice.
static size_t index_of(const Slice& slice, QuadOrder order, size_t slot, int channel) {
    const size_t quad = slot / QUAD, byte = slot % QUAD;
    if (order == QuadOrder::Rows) return (quad * LANES + channel) * QUAD + byte;
    if (order == QuadOrder::Pairs)
        return (quad / 2 * LANES + channel) * 2 * QUAD + quad % 2 * QUAD + byte;
    const size_t depth = slice.quads_bytes / (DEPTH * LANES), half = channel / 32;
    const size_t tile = (half * depth + quad / TILE_SIZE) * 2 + channel / TILE_SIZE % 2;
    return (tile * TILE_SIZE + quad % TILE_SIZE) * DEPTH + channel % TILE_SIZE * QUAD + byte;
}

static void check_places_of_weights(const Shape& shape, QuadOrder order, bool side_by_side) {
    const auto weight = random_weights(shape);
    const auto packed = PackedWeights::pack(weight.data(), shape.channels_out, shape.channels_in,
                                            shape.groups, KERNEL_Y, KERNEL_X, order, side_by_side);
    CHECK_EQUAL(packed.slices.size(), size_t(shape.channels_out + LANES - 1) / LANES);
    int wrong = 0;
    for (size_t s = 0; s < packed.slices.size(); ++s) {
        const Slice& slice = packed.slices[s];
        for (int kx = 0; kx < KERNEL_X; ++kx)
            for (int ky = 0; ky < KERNEL_Y; ++ky)
                for (int i = 0; i < slice.channels * LANES; ++i) {
                    const int c = i / LANES, lane = i % LANES, place = kx * KERNEL_Y + ky;
                    const int value =
                        expected(shape, weight, int(s) * LANES + lane, slice.channel0 + c, ky, kx);
                    const size_t row = size_t(place) * slice.pitch + c;
                    const size_t slot = slot_of(slice, order, ky, kx, c);
                    const uint8_t* const rows = packed.bytes + slice.offset;
                    const int8_t* const quads = packed.quads + slice.quads_offset;
                    wrong += rows[row * LANES + byte_of(lane)] - 128 != value;
                    wrong += quads[index_of(slice, order, slot, lane)] != value;
                }
    }
    CHECK_EQUAL(wrong, 0);
}

TEST(every_weight_is_in_its_row_and_its_quad) {
    for (const Shape& shape : SHAPES)
        for (const QuadOrder order : {QuadOrder::Rows, QuadOrder::Pairs, QuadOrder::Tiles})
            for (const bool side_by_side : {false, true})
                check_places_of_weights(shape, order, side_by_side);
}

TEST(slices_read_the_channels_of_their_groups) {
    const Shape shape{130, 70, 2};  // groups of 65 output and 35 input channels
    const auto packed = PackedWeights::pack(random_weights(shape).data(), 130, 70, 2, KERNEL_Y,
                                            KERNEL_X, QuadOrder::None, true);
    CHECK(packed.quads == nullptr);
    CHECK_EQUAL(packed.slices[0].channels, 35);  // outputs 0..63: the first group
    CHECK_EQUAL(packed.slices[1].channels, 70);  // outputs 64..127: both
    CHECK_EQUAL(packed.slices[2].channel0, 35);  // outputs 128, 129: the second
    CHECK_EQUAL(packed.max_channels(), 70);
}

TEST(gathered_weights_stay_the_same) {
    const Shape shape = SHAPES[3];
    const auto weight = random_weights(shape);
    const auto pack = [&] {
        return PackedWeights::pack(weight.data(), shape.channels_out, shape.channels_in,
                                   shape.groups, KERNEL_Y, KERNEL_X, QuadOrder::Tiles, true);
    };
    const PackedWeights before = pack();
    PackedWeights first = pack(), second = pack();
    const Aligned<uint8_t> block = gather_weights({&first, &second});
    CHECK(first.bytes == block.get());
    for (const PackedWeights* weights : {&first, &second}) {
        CHECK(std::equal(before.bytes, before.bytes + before.size, weights->bytes));
        CHECK(std::equal(before.quads, before.quads + before.quads_size, weights->quads));
    }
}
