#include "convolution.hpp"

#include <algorithm>
#include <cstring>

namespace lmht::netx {
namespace {

int divide_up(int n, int by) {
    return (n + by - 1) / by;
}

int64_t reach_of(const Kernel& kernel) {
    return largest_sum(kernel.values, kernel.outputs, kernel.per_output());
}

}  // namespace

GroupLanes::GroupLanes(int channels_in, Shape target, int groups) : first(channels_in) {
    const int inputs = channels_in / groups, outputs = target.channels / groups;
    for (int group = 0; group < groups; ++group) {
        const int begin = group * outputs / LANES,
                  end = divide_up((group + 1) * outputs, LANES);  // in blocks
        blocks = std::max(blocks, end - begin);
        std::fill_n(first.begin() + group * inputs, inputs, begin * LANES);
    }
    // A group that spans fewer blocks than others must not reach beyond the pixel.
    const int last = target.pitch() - blocks * LANES;
    for (int& lane : first) lane = std::min(lane, last);
}

Convolution::Convolution(Shape source, Shape target, const Geometry& g, const Kernel& kernel)
    : target_(target),
      source_pitch_(source.pitch()),
      taps_(kernel.size.x),
      rows_({source.height, target.height, kernel.size.y, g.stride.y, g.padding.y, g.dilation.y}),
      columns_({source.width, target.width, kernel.size.x, g.stride.x, g.padding.x, g.dilation.x}),
      lanes_(source.channels, target, g.groups),
      reach_(reach_of(kernel)),
      channel_pitch_(kernel.size.y * kernel_row()),
      weights_(kernel.values, kernel.count(), channel_pitch_ * source.channels) {
    pack(kernel, g.groups);
}

void Convolution::pack(const Kernel& kernel, int groups) {
    const int outputs_per_group = kernel.outputs / groups;
    for (int o = 0; o < kernel.outputs; ++o)
        for (int i = 0; i < kernel.inputs; ++i) {
            const int channel = o / outputs_per_group * kernel.inputs + i;
            const size_t lane = channel * channel_pitch_ + (o - lanes_.first[channel]);
            for (int ky = 0; ky < kernel.size.y; ++ky)
                for (int tap = 0; tap < taps_; ++tap)
                    weights_.set(lane + ky * kernel_row() + size_t(tap) * lanes_.blocks * LANES,
                                 kernel.at(o, i, ky, columns_.order[tap]));
        }
}

void Convolution::deliver(const LayerSpikes& source, CurrentRing& to,
                          const Kernels& kernels) const {
    const std::unique_ptr<Column[]> columns(new Column[source.shape.row()]);
    for (int y = 0; y < source.shape.height; ++y) {
        if (!source.counts[y]) continue;
        const int n = split(source.row(y), source.counts[y], columns.get());
        deliver_row(y, source.row(y), source.row_values(y), columns.get(), n, to, kernels);
    }
}

void Convolution::deliver_row(int y, const Spike* spikes, const int32_t* values,
                              const Column* columns, int n, CurrentRing& to,
                              const Kernels& kernels) const {
    ConvolutionRow row{.spikes = spikes,
                       .values = values,
                       .columns = columns,
                       .n = n,
                       .apart = taps_,
                       .source_pitch = source_pitch_,
                       .runs = columns_.runs.data(),
                       .run_start = columns_.start.data(),
                       .weights = nullptr,
                       .weight_bytes = weights_.width(),
                       .channel_pitch = channel_pitch_,
                       .current = nullptr,
                       .current_bytes = to.bytes(),
                       .pitch = target_.pitch(),
                       .blocks = lanes_.blocks};
    for (int r = rows_.start[y]; r < rows_.start[y + 1]; ++r)
        for (int i = 0; i < rows_.runs[r].length; ++i) {
            const int output = rows_.runs[r].output + i, ky = rows_.order[rows_.runs[r].tap + i];
            to.touched(0)[output] = 1;
            row.weights = weights_.at(ky * kernel_row());
            row.current = to.current(0, output * target_.row());
            kernels.convolve(row);
        }
}

// Splits the spikes of a row into columns, each of one x and one group; returns their number.
int Convolution::split(const Spike* spikes, int n, Column* columns) const {
    int found = 0;
    for (int begin = 0, end; begin < n; begin = end) {
        const int x = int(spikes[begin]) / source_pitch_, start = x * source_pitch_,
                  first = lanes_.first[spikes[begin] - start];
        const auto same = [&](Spike spike) {
            return int(spike) < start + source_pitch_ && lanes_.first[spike - start] == first;
        };
        for (end = begin + 1; end < n && same(spikes[end]);) ++end;
        columns[found++] = {x, first, begin, end};
    }
    return found;
}

std::unique_ptr<Convolution> make_strided_convolution(Shape source, Shape target, const Geometry& g,
                                                      const Kernel& kernel) {
    const int stride = g.stride.x, pitch = source.pitch(), taps = divide_up(kernel.size.x, stride);
    const Shape blocks{stride * pitch, source.height, divide_up(source.width, stride), true};
    std::vector<int32_t> spread(size_t(kernel.outputs) * blocks.channels * kernel.size.y * taps);
    for (int o = 0; o < kernel.outputs; ++o)
        for (int c = 0; c < kernel.inputs; ++c)
            for (int ky = 0; ky < kernel.size.y; ++ky)
                for (int kx = 0; kx < kernel.size.x; ++kx) {
                    const size_t channel = size_t(o) * blocks.channels + kx % stride * pitch + c;
                    spread[(channel * kernel.size.y + ky) * taps + kx / stride] =
                        kernel.at(o, c, ky, kx);
                }
    return std::make_unique<Convolution>(
        blocks, target,
        Geometry{{g.stride.y, 1}, {g.padding.y, g.padding.x / stride}, {g.dilation.y, 1}, 1},
        Kernel{spread.data(), kernel.outputs, blocks.channels, {kernel.size.y, taps}});
}

namespace {

// Of the convolution over blocks: [outputs][pattern][kernel row][kernel column of blocks].
std::vector<int32_t> pattern_sums(int channels, int stride, const Kernel& kernel) {
    const int bits = channels * stride, taps = divide_up(kernel.size.x, stride);
    const auto weight = [&](int o, int bit, int ky, int tap) {
        const int kx = tap * stride + bit / channels;
        return kx < kernel.size.x ? kernel.at(o, bit % channels, ky, kx) : 0;
    };
    std::vector<int32_t> sums;
    for (int o = 0; o < kernel.outputs; ++o)
        for (int pattern = 0; pattern < 1 << bits; ++pattern)
            for (int ky = 0; ky < kernel.size.y; ++ky)
                for (int tap = 0; tap < taps; ++tap) {
                    int32_t sum = 0;
                    for (int bit = 0; bit < bits; ++bit)
                        if (pattern >> bit & 1) sum += weight(o, bit, ky, tap);
                    sums.push_back(sum);
                }
    return sums;
}

}  // namespace

bool PatternConvolution::fits(Shape source, const Geometry& g, const Kernel& kernel) {
    const int64_t reach = reach_of(kernel);
    return source.packed && g.groups == 1 && g.dilation.x == 1 &&
           source.channels * g.stride.x <= MAX_BITS && reach == int16_t(reach);
}

PatternConvolution::PatternConvolution(Shape source, Shape target, const Geometry& g,
                                       const Kernel& kernel)
    : PatternConvolution(source, target, g, kernel,
                         pattern_sums(source.channels, g.stride.x, kernel)) {}

PatternConvolution::PatternConvolution(Shape source, Shape target, const Geometry& g,
                                       const Kernel& kernel, const std::vector<int32_t>& sums)
    : plain_(source, target, g, kernel),
      bits_(source.channels * g.stride.x),
      lead_(source.channels * g.padding.x),
      blocks_(divide_up(source.width + g.padding.x, g.stride.x)),
      patterns_({1 << bits_, source.height, blocks_, true}, target,
                {{g.stride.y, 1}, {g.padding.y, 0}, {g.dilation.y, 1}, 1},
                {sums.data(),
                 kernel.outputs,
                 1 << bits_,
                 {kernel.size.y, divide_up(kernel.size.x, g.stride.x)}}) {}

void PatternConvolution::deliver(const LayerSpikes& source, CurrentRing& to,
                                 const Kernels& kernels) const {
    if (!source.values.empty()) return plain_.deliver(source, to, kernels);
    std::vector<Spike> spikes(blocks_ + 1);
    std::vector<Column> columns(blocks_ + 1);
    for (int y = 0; y < source.shape.height; ++y) {
        if (!source.counts[y]) continue;
        const int n = list(source.bits(y), spikes.data(), columns.data());
        patterns_.deliver_row(y, spikes.data(), nullptr, columns.data(), n, to, kernels);
    }
}

// The bits of one block of a row. Block 0 begins with the padding, `lead_` bits before the row.
uint32_t PatternConvolution::pattern_of(const uint8_t* fired, int block) const {
    const int at = block * bits_ - lead_;
    if (at <= -bits_) return 0;
    uint32_t bits;
    std::memcpy(&bits, fired + std::max(at, 0) / 8, sizeof bits);
    return (at < 0 ? bits << -at : bits >> at % 8) & ((1u << bits_) - 1);
}

// The patterns of a row that are not empty, as the spikes of a layer with one channel per pattern,
// each a column of its own. Without a branch, which would depend on the spikes.
int PatternConvolution::list(const uint8_t* fired, Spike* spikes, Column* columns) const {
    int n = 0;
    for (int block = 0; block < blocks_; ++block) {
        const uint32_t pattern = pattern_of(fired, block);
        spikes[n] = Spike(block << bits_ | int(pattern));
        columns[n] = {block, 0, n, n + 1};
        n += pattern != 0;
    }
    return n;
}

std::unique_ptr<Synapse> make_convolution(Shape source, Shape target, const Geometry& g,
                                          const Kernel& kernel) {
    if (PatternConvolution::fits(source, g, kernel))
        return std::make_unique<PatternConvolution>(source, target, g, kernel);
    if (g.stride.x > 1 && g.groups == 1 && g.dilation.x == 1 && g.padding.x % g.stride.x == 0)
        return make_strided_convolution(source, target, g, kernel);
    return std::make_unique<Convolution>(source, target, g, kernel);
}

}  // namespace lmht::netx
