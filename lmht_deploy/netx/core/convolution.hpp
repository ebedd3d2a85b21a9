// Convolutions: an input spike adds the weights of its channel to all outputs that it reaches.
#pragma once
#include <vector>

#include "axis.hpp"
#include "synapse.hpp"

namespace lmht::netx {

// The lanes that the output channels of each group take: whole blocks of LANES, as many for every
// group, so that one loop serves all of them. A group that begins within a block also has the lanes
// before it, with weights of 0. For 3 groups of 6 channels, which have 24 lanes:
//
//   lanes     0       8       16      24
//             |-------|-------|-------|
//   group 0   [000000..........]              first lane 0
//   group 1   [......111111....]              first lane 0
//   group 2           [....222222......]      first lane 8      2 blocks each
struct GroupLanes {
    int blocks = 0;          // of LANES, per group
    std::vector<int> first;  // by input channel: the first lane of its group

    GroupLanes(int channels_in, Shape target, int groups);
};

// Any convolution.
//
// Weights lie as [input channel][kernel row][tap][lane of the group]. So the weights of a spike for
// consecutive taps, whose outputs are neighbors (see Axis), are consecutive; where a group has all
// lanes of a pixel, so are the currents that they are added to.
class Convolution : public Synapse {
public:
    Convolution(Shape source, Shape target, const Geometry& geometry, const Kernel& kernel);

    void deliver(const LayerSpikes& source, CurrentRing& to, const Kernels& kernels) const override;
    // The spikes of input row y, as `n` columns.
    void deliver_row(int y, const Spike* spikes, const int32_t* values, const Column* columns,
                     int n, CurrentRing& to, const Kernels& kernels) const;
    int64_t reach() const override { return reach_; }

private:
    void pack(const Kernel& kernel, int groups);
    int split(const Spike* spikes, int n, Column* columns) const;
    size_t kernel_row() const { return size_t(taps_) * lanes_.blocks * LANES; }

    Shape target_;
    int source_pitch_, taps_;
    Axis rows_, columns_;
    GroupLanes lanes_;
    int64_t reach_;
    size_t channel_pitch_;  // weights per input channel
    Weights weights_;
};

// A convolution with a stride along x, as one without: `stride` columns become one with all of
// their channels. A spike keeps its number, every spike reaches equally many outputs, and more of
// them share a column. Taps that the kernel lacks are 0. With stride 2:
//
//   columns   x0 x1 | x2 x3 | x4 --         kernel   k0 k1 k2   ->   (k0 k1) (k2 0)
//   become    b0      b1      b2
//
// Only for padding that is a multiple of the stride, one group, and dilation 1 along x.
std::unique_ptr<Convolution> make_strided_convolution(Shape source, Shape target,
                                                      const Geometry& geometry,
                                                      const Kernel& kernel);

// A convolution of few input channels. The bits of `stride` columns, a block, are one pattern, and
// a table holds the sum of the weights of each pattern: a block costs one addition, however many of
// its neurons fire. With 2 channels and stride 2 a pattern has 4 bits:
//
//   column        x0     x1
//   channel      c0 c1  c0 c1
//   bit           0  1   2  3
class PatternConvolution : public Synapse {
public:
    static constexpr int MAX_BITS = 6;  // per pattern: the table stays in the first-level cache

    static bool fits(Shape source, const Geometry& geometry, const Kernel& kernel);

    PatternConvolution(Shape source, Shape target, const Geometry& geometry, const Kernel& kernel);

    void deliver(const LayerSpikes& source, CurrentRing& to, const Kernels& kernels) const override;
    int64_t reach() const override { return plain_.reach(); }

private:
    PatternConvolution(Shape source, Shape target, const Geometry& geometry, const Kernel& kernel,
                       const std::vector<int32_t>& sums);
    uint32_t pattern_of(const uint8_t* fired, int block) const;
    int list(const uint8_t* fired, Spike* spikes, Column* columns) const;

    Convolution plain_;  // for graded spikes
    int bits_, lead_, blocks_;
    Convolution patterns_;  // of an input with one channel per pattern and one column per block
};

}  // namespace lmht::netx
