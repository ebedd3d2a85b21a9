// Currents of synapses against sums over all weights, on every tier.
#include <random>

#include "check.hpp"
#include "netx/core/convolution.hpp"
#include "netx/core/simulator.hpp"

using namespace lmht::netx;

namespace {

std::mt19937 generator(1);

int draw(int low, int high) {
    return std::uniform_int_distribution(low, high)(generator);
}

std::vector<int32_t> random_weights(size_t n, int largest) {
    std::vector<int32_t> weights(n);
    for (int32_t& weight : weights) weight = draw(-largest, largest);
    return weights;
}

// Inputs of one step [C, H, W], about a third of them not 0.
std::vector<int32_t> random_input(Shape shape, bool graded) {
    std::vector<int32_t> input(shape.size());
    for (int32_t& value : input) value = draw(0, 2) ? 0 : graded ? draw(-300, 300) : 1;
    return input;
}

LayerSpikes spikes_of(Shape shape, const std::vector<int32_t>& input, bool graded) {
    LayerSpikes spikes(shape, graded);
    std::vector<int32_t> padded(shape.padded());
    for (size_t i = 0; i < input.size(); ++i) padded[shape.index(i)] = input[i];
    for (int y = 0; y < shape.height; ++y)
        for (size_t at = 0; at < shape.row(); ++at) {
            const int32_t value = padded[y * shape.row() + at];
            if (!value) continue;
            const size_t entry = spikes.start(y) + spikes.counts[y]++;
            spikes.spikes[entry] = Spike(at);
            if (graded) spikes.values[entry] = value;
            spikes.bits(y)[at / 8] |= uint8_t(1 << at % 8);
        }
    return spikes;
}

// The currents that arrive after `delay` more steps, (C, H, W).
std::vector<int32_t> arriving(CurrentRing& ring, Shape shape, int delay) {
    std::vector<int32_t> found(shape.size());
    for (size_t i = 0; i < found.size(); ++i) {
        const uint8_t* at = ring.current(delay, shape.index(i));
        found[i] = ring.bytes() == 2 ? *reinterpret_cast<const int16_t*>(at)
                                     : *reinterpret_cast<const int32_t*>(at);
    }
    return found;
}

struct Case {
    Shape source, target;
    Geometry geometry;
    Pair kernel;
};

int outputs_of(int inputs, int kernel, int stride, int padding, int dilation) {
    return (inputs + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

Case random_case(int groups, bool packed) {
    for (;;) {
        const Geometry g{
            {draw(1, 3), draw(1, 3)}, {draw(0, 3), draw(0, 3)}, {draw(1, 2), draw(1, 2)}, groups};
        const Pair kernel{draw(1, 4), draw(1, 4)};
        const Shape source{groups * draw(1, 3), draw(1, 7), draw(1, 7), packed};
        const Shape target{
            groups * draw(1, 9),
            outputs_of(source.height, kernel.y, g.stride.y, g.padding.y, g.dilation.y),
            outputs_of(source.width, kernel.x, g.stride.x, g.padding.x, g.dilation.x)};
        const bool fits = source.height + 2 * g.padding.y > g.dilation.y * (kernel.y - 1) &&
                          source.width + 2 * g.padding.x > g.dilation.x * (kernel.x - 1);
        if (fits) return {source, target, g, kernel};
    }
}

std::vector<int32_t> by_definition(const Case& c, const Kernel& kernel,
                                   const std::vector<int32_t>& input) {
    const Geometry& g = c.geometry;
    std::vector<int32_t> sums(c.target.size());
    for (int o = 0; o < c.target.channels; ++o)
        for (int y = 0; y < c.target.height; ++y)
            for (int x = 0; x < c.target.width; ++x)
                for (int i = 0; i < kernel.inputs; ++i)
                    for (int ky = 0; ky < kernel.size.y; ++ky)
                        for (int kx = 0; kx < kernel.size.x; ++kx) {
                            const int row = y * g.stride.y + ky * g.dilation.y - g.padding.y,
                                      column = x * g.stride.x + kx * g.dilation.x - g.padding.x,
                                      group = o / (c.target.channels / g.groups);
                            if (row < 0 || row >= c.source.height || column < 0 ||
                                column >= c.source.width)
                                continue;
                            const int channel = group * kernel.inputs + i;
                            sums[(o * c.target.height + y) * c.target.width + x] +=
                                kernel.at(o, i, ky, kx) *
                                input[(channel * c.source.height + row) * c.source.width + column];
                        }
    return sums;
}

// Every tier gives the same currents as the definition, of 16 bits where `bytes` is 2.
void check_convolution(const Case& c, int largest, bool graded, int bytes) {
    const int inputs = c.source.channels / c.geometry.groups;
    const auto weights =
        random_weights(size_t(c.target.channels) * inputs * c.kernel.y * c.kernel.x, largest);
    const Kernel kernel{weights.data(), c.target.channels, inputs, c.kernel};
    const auto input = random_input(c.source, graded);
    const LayerSpikes spikes = spikes_of(c.source, input, graded);
    const auto synapse = make_convolution(c.source, c.target, c.geometry, kernel);
    for (const std::string& isa : available_isas()) {
        CurrentRing ring(c.target, 1);
        ring.clear(bytes);
        synapse->deliver(spikes, ring, *Network(c.source, isa).kernels);
        CHECK_EQUAL(arriving(ring, c.target, 0), by_definition(c, kernel, input));
    }
}

}  // namespace

TEST(binary_spikes_through_narrow_weights) {
    for (int i = 0; i < 60; ++i)
        check_convolution(random_case(1, i % 2), 100, false, i % 3 ? 2 : 4);
}

TEST(graded_spikes_and_wide_weights) {
    for (int i = 0; i < 60; ++i)
        check_convolution(random_case(1, i % 2), i % 3 ? 100 : 70000, i % 5 < 3, 4);
}

TEST(groups) {
    for (int i = 0; i < 60; ++i)
        check_convolution(random_case(draw(2, 4), i % 2), 100, i % 3 == 0, 4);
}

TEST(groups_share_blocks_as_drawn) {
    const GroupLanes lanes(3, {18, 1, 1}, 3);
    CHECK_EQUAL(lanes.blocks, 2);
    CHECK_EQUAL(lanes.first, (std::vector{0, 0, 8}));
}

TEST(dense_with_and_without_delays) {
    for (int kind = 0; kind < 3; ++kind) {  // none, one per input, one per weight
        const Shape source{2, 3, 2}, target{5, 1, 1};
        const size_t n = source.size();
        const auto weights = random_weights(5 * n, 1000);
        std::vector<int32_t> delays(5 * n);
        for (size_t i = 0; i < delays.size(); ++i)
            delays[i] = kind == 0 ? 0 : kind == 1 && i >= n ? delays[i % n] : draw(0, 4);
        const auto input = random_input(source, true);
        const auto synapse =
            make_dense(source, target, weights.data(), kind ? delays.data() : nullptr);
        CHECK(synapse->longest_delay() <= 4);
        CurrentRing ring(target, synapse->longest_delay() + 1);
        ring.clear(4);
        synapse->deliver(spikes_of(source, input, true), ring, *Network(source, "").kernels);
        for (int delay = 0; delay <= synapse->longest_delay(); ++delay) {
            std::vector<int32_t> expected(5);
            for (size_t i = 0; i < weights.size(); ++i)
                if (delays[i] == delay) expected[i / n] += weights[i] * input[i % n];
            CHECK_EQUAL(arriving(ring, target, delay), expected);
        }
    }
}

TEST(reach_is_the_largest_sum_of_absolute_weights) {
    const std::vector<int32_t> weights{3, -4, 5, -6, 0, 1};
    const Shape source{1, 1, 3}, target{2, 1, 1};
    CHECK_EQUAL(make_dense(source, target, weights.data(), nullptr)->reach(), 12);
    const Kernel kernel{weights.data(), 2, 1, {1, 3}};
    CHECK_EQUAL(make_convolution(source, target, {{1, 1}, {0, 0}, {1, 1}, 1}, kernel)->reach(), 12);
}
