#include "synapses.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace lmht::netx {
namespace {

// Weights in 16 bits where they fit, else in 32.
class Weights {
public:
    Weights(const int32_t* values, size_t n, size_t padded)
        : narrow_(std::all_of(values, values + n, [](int32_t w) { return w == int16_t(w); })),
          bytes_(padded * width()) {}

    int width() const { return narrow_ ? 2 : 4; }
    const void* at(size_t index) const { return bytes_.data() + index * width(); }
    void set(size_t index, int32_t weight) {
        if (narrow_)
            reinterpret_cast<int16_t*>(bytes_.data())[index] = int16_t(weight);
        else
            reinterpret_cast<int32_t*>(bytes_.data())[index] = weight;
    }

private:
    bool narrow_;
    AlignedVector<uint8_t> bytes_;
};

// The largest sum of absolute weights of one of `outputs`, [outputs][inputs].
int64_t largest_sum(const int32_t* weight, size_t outputs, size_t inputs) {
    int64_t largest = 0;
    for (size_t o = 0; o < outputs; ++o) {
        int64_t sum = 0;
        for (size_t i = 0; i < inputs; ++i) sum += std::abs(int64_t(*weight++));
        largest = std::max(largest, sum);
    }
    return largest;
}

// Which taps of one axis an input place reaches which outputs through, by input place, outputs
// rising. A tap is numbered by its place in `order`, in which the taps that one input reaches
// follow each other.
struct Axis {
    std::vector<int> order;  // kernel index of each tap
    std::vector<Run> runs;
    std::vector<int> start;

    Axis(int inputs, int outputs, int kernel, int stride, int padding, int dilation) {
        // Two taps reach outputs from one input place where they are apart by a multiple of the
        // stride; higher ones reach lower outputs.
        for (int phase = 0; phase < stride; ++phase)
            for (int k = kernel - 1; k >= 0; --k)
                if (k * dilation % stride == phase) order.push_back(k);
        for (int place = 0; place < inputs; ++place) {
            start.push_back(int(runs.size()));
            for (int tap = 0; tap < kernel; ++tap) {
                const int from = place + padding - order[tap] * dilation, to = from / stride;
                if (from < 0 || from % stride || to >= outputs) continue;
                if (int(runs.size()) > start.back() && runs.back().to + runs.back().pixels == to &&
                    runs.back().tap + runs.back().pixels == tap)
                    ++runs.back().pixels;
                else
                    runs.push_back({to, 1, tap});
            }
        }
        start.push_back(int(runs.size()));
    }
};

class Convolution : public Synapse {
public:
    Convolution(Shape source, Shape target, const Geometry& g, const int32_t* weight)
        : target_(target),
          source_pitch_(source.pitch()),
          rows_(source.height, target.height, g.kernel.y, g.stride.y, g.padding.y, g.dilation.y),
          columns_(source.width, target.width, g.kernel.x, g.stride.x, g.padding.x, g.dilation.x),
          taps_(g.kernel.x),
          first_(source.channels),
          reach_(largest_sum(weight, target.channels,
                             size_t(source.channels / g.groups) * g.kernel.y * g.kernel.x)) {
        const int group_in = source.channels / g.groups, group_out = target.channels / g.groups;
        for (int group = 0; group < g.groups; ++group) {
            const int low = group * group_out / LANES,
                      high = ((group + 1) * group_out + LANES - 1) / LANES;
            blocks_ = std::max(blocks_, high - low);
            for (int c = 0; c < group_in; ++c) first_[group * group_in + c] = low * LANES;
        }
        const int spare = target.pitch() - blocks_ * LANES;
        for (int& first : first_)
            first = std::min(first, spare);  // groups span one block more or less
        const size_t taps = size_t(g.kernel.y) * g.kernel.x, per_channel = taps * blocks_ * LANES;
        weights_ = std::make_unique<Weights>(weight, taps * group_in * target.channels,
                                             per_channel * source.channels);
        for (int o = 0; o < target.channels; ++o)
            for (int i = 0; i < group_in; ++i) {
                const int channel = o / group_out * group_in + i;
                for (int ky = 0; ky < g.kernel.y; ++ky)
                    for (int tap = 0; tap < taps_; ++tap) {
                        const size_t at = channel * per_channel +
                                          (size_t(ky) * taps_ + tap) * blocks_ * LANES +
                                          (o - first_[channel]);
                        weights_->set(
                            at, weight[((size_t(o) * group_in + i) * g.kernel.y + ky) * g.kernel.x +
                                       columns_.order[tap]]);
                    }
            }
        channel_pitch_ = per_channel;
    }

    void deliver(const Active& source, Arrivals& to, const Kernels& kernels) const override {
        const std::unique_ptr<Column[]> columns(new Column[source.shape.row()]);
        for (int y = 0; y < source.shape.height; ++y) {
            if (!source.counts[y]) continue;
            const Spike* spikes = source.spikes.data() + source.start(y);
            deliver_row(y, spikes, source.values_of(y), columns.get(),
                        split(spikes, source.counts[y], columns.get()), to, kernels);
        }
    }
    // `n` columns of spikes.
    void deliver_row(int y, const Spike* spikes, const int32_t* values, const Column* columns,
                     int n, Arrivals& to, const Kernels& kernels) const {
        for (int r = rows_.start[y]; r < rows_.start[y + 1]; ++r)
            for (int p = 0; p < rows_.runs[r].pixels; ++p) {
                const int row = rows_.runs[r].to + p, ky = rows_.order[rows_.runs[r].tap + p];
                to.touched(0)[row] = 1;
                kernels.convolve(
                    {spikes, values, columns, n, taps_, source_pitch_, columns_.runs.data(),
                     columns_.start.data(), weights_->at(size_t(ky) * taps_ * blocks_ * LANES),
                     weights_->width(), channel_pitch_, to.current(0, row * target_.row()),
                     to.bytes(), target_.pitch(), blocks_});
            }
    }
    int64_t reach() const override { return reach_; }

private:
    // The columns of a row's spikes.
    int split(const Spike* spikes, int n, Column* columns) const {
        int found = 0;
        for (int begin = 0, end; begin < n; begin = end) {
            const int x = int(spikes[begin]) / source_pitch_, start = x * source_pitch_,
                      first = first_[spikes[begin] - start];
            for (end = begin + 1; end < n && int(spikes[end]) < start + source_pitch_ &&
                                  first_[spikes[end] - start] == first;
                 ++end) {
            }
            columns[found++] = {x, first, begin, end};
        }
        return found;
    }

    Shape target_;
    int source_pitch_;
    Axis rows_, columns_;
    int taps_, blocks_ = 0;
    std::vector<int> first_;  // by channel: the first lane of its group
    int64_t reach_;
    size_t channel_pitch_;
    std::unique_ptr<Weights> weights_;
};

// As many columns as the stride has, taken as one of all their channels: a spike keeps its number,
// each reaches as many outputs as any other, and more of them are added together. Taps that a
// kernel lacks are zeros.
std::unique_ptr<Convolution> in_blocks(Shape source, Shape target, const Geometry& g,
                                       const int32_t* weight) {
    const int stride = g.stride.x, pitch = source.pitch(),
              taps = (g.kernel.x + stride - 1) / stride;
    const Shape blocks{stride * pitch, source.height, (source.width + stride - 1) / stride, true};
    std::vector<int32_t> spread(size_t(target.channels) * blocks.channels * g.kernel.y * taps);
    for (int o = 0; o < target.channels; ++o)
        for (int c = 0; c < source.channels; ++c)
            for (int ky = 0; ky < g.kernel.y; ++ky)
                for (int kx = 0; kx < g.kernel.x; ++kx) {
                    const size_t channel = size_t(o) * blocks.channels + kx % stride * pitch + c;
                    spread[(channel * g.kernel.y + ky) * taps + kx / stride] = *weight++;
                }
    return std::make_unique<Convolution>(blocks, target,
                                         Geometry{{g.kernel.y, taps},
                                                  {g.stride.y, 1},
                                                  {g.padding.y, g.padding.x / stride},
                                                  {g.dilation.y, 1},
                                                  1},
                                         spread.data());
}

// A convolution of few channels: the channels of as many columns as the stride has are one pattern
// of bits, and a table has the weights' sums of each pattern. So a whole block of columns costs one
// addition, however many of its neurons fire.
class PatternConvolution : public Synapse {
public:
    static constexpr int MOST = 6;  // bits of a pattern: the table stays in the nearest cache

    static bool fits(Shape source, const Geometry& g, int64_t reach) {
        return source.packed && g.groups == 1 && g.dilation.x == 1 &&
               source.channels * g.stride.x <= MOST && reach == int16_t(reach);
    }

    PatternConvolution(Shape source, Shape target, const Geometry& g, const int32_t* weight)
        : plain_(source, target, g, weight),
          bits_(source.channels * g.stride.x),
          lead_(source.channels * g.padding.x),
          blocks_((source.width + g.padding.x + g.stride.x - 1) / g.stride.x),
          patterns_({1 << bits_, source.height, blocks_, true}, target, geometry(g),
                    sums(source, target, g, weight).data()) {}

    void deliver(const Active& source, Arrivals& to, const Kernels& kernels) const override {
        if (!source.values.empty()) return plain_.deliver(source, to, kernels);
        std::vector<Spike> spikes(blocks_ + 1);
        std::vector<Column> columns(blocks_ + 1);
        for (int y = 0; y < source.shape.height; ++y)
            if (source.counts[y])
                patterns_.deliver_row(y, spikes.data(), nullptr, columns.data(),
                                      list(source.bits(y), spikes.data(), columns.data()), to,
                                      kernels);
    }
    int64_t reach() const override { return plain_.reach(); }

private:
    static Geometry geometry(const Geometry& g) {
        return {{g.kernel.y, (g.kernel.x + g.stride.x - 1) / g.stride.x},
                {g.stride.y, 1},
                {g.padding.y, 0},
                {g.dilation.y, 1},
                1};
    }

    // [C_out][pattern][kh][kw of blocks]; bit i of a pattern is channel i % C of column i / C.
    static std::vector<int32_t> sums(Shape source, Shape target, const Geometry& g,
                                     const int32_t* weight) {
        const int bits = source.channels * g.stride.x, taps = geometry(g).kernel.x;
        std::vector<int32_t> sums;
        for (int o = 0; o < target.channels; ++o)
            for (int pattern = 0; pattern < 1 << bits; ++pattern)
                for (int ky = 0; ky < g.kernel.y; ++ky)
                    for (int tap = 0; tap < taps; ++tap) {
                        int32_t sum = 0;
                        for (int bit = 0; bit < bits; ++bit) {
                            const int c = bit % source.channels,
                                      kx = tap * g.stride.x + bit / source.channels;
                            if (pattern >> bit & 1 && kx < g.kernel.x)
                                sum +=
                                    weight[((size_t(o) * source.channels + c) * g.kernel.y + ky) *
                                               g.kernel.x +
                                           kx];
                        }
                        sums.push_back(sum);
                    }
        return sums;
    }

    // The patterns of a row that are not empty, as spikes of a layer with a channel a pattern, each
    // a column.
    int list(const uint8_t* fired, Spike* spikes, Column* columns) const {
        int n = 0;
        for (int block = 0; block < blocks_; ++block) {
            const int at = block * bits_ - lead_;
            uint32_t pattern = 0;
            if (at > -bits_)
                memcpy(&pattern, fired + std::max(at, 0) / 8,
                       sizeof pattern);  // else it lies in the padding
            pattern = (at < 0 ? pattern << std::min(-at, bits_) : pattern >> at % 8) &
                      ((1u << bits_) - 1);
            spikes[n] = Spike(block << bits_ | int(pattern));
            columns[n] = {block, 0, n, n + 1};
            n += pattern != 0;
        }
        return n;
    }

    Convolution plain_;  // of graded spikes
    int bits_, lead_, blocks_;
    Convolution patterns_;
};

// Calls f(input, value) for each spike; inputs are numbered as neurons lie.
template <class Function>
void for_each(const Active& source, Function f) {
    for (int y = 0; y < source.shape.height; ++y) {
        const size_t start = source.start(y);
        for (int i = 0; i < source.counts[y]; ++i)
            f(start + source.spikes[start + i],
              source.values.empty() ? 1 : source.values[start + i]);
    }
}

// Where place `i` of the order (C, H, W) lies.
size_t place(Shape shape, size_t i) {
    const size_t plane = size_t(shape.height) * shape.width, at = i % plane;
    return at / shape.width * shape.row() + at % shape.width * shape.pitch() + i / plane;
}

// All outputs of an input have one delay: a row of weights is added at once.
class Dense : public Synapse {
public:
    Dense(Shape source, Shape target, const int32_t* weight, const int32_t* delay)
        : pitch_(target.pitch()),
          reach_(largest_sum(weight, target.channels, source.size())),
          delays_(source.padded()),
          weights_(weight, source.size() * target.channels, source.padded() * pitch_) {
        for (size_t i = 0; i < source.size(); ++i) {
            const size_t input = place(source, i);
            if (delay) delays_[input] = uint8_t(delay[i]);
            for (int o = 0; o < target.channels; ++o)
                weights_.set(input * pitch_ + o, weight[o * source.size() + i]);
        }
        longest_ = *std::max_element(delays_.begin(), delays_.end());
    }

    void deliver(const Active& source, Arrivals& to, const Kernels& kernels) const override {
        for_each(source, [&](size_t input, int32_t value) {
            *to.touched(delays_[input]) = 1;
            kernels.add(to.current(delays_[input]), to.bytes(), weights_.at(input * pitch_),
                        weights_.width(), pitch_ / LANES, value);
        });
    }
    int longest_delay() const override { return longest_; }
    int64_t reach() const override { return reach_; }

private:
    int pitch_, longest_;
    int64_t reach_;
    std::vector<uint8_t> delays_;
    Weights weights_;
};

// Any delays: entry by entry.
class DelayedDense : public Synapse {
public:
    DelayedDense(Shape source, Shape target, const int32_t* weight, const int32_t* delay)
        : longest_(*std::max_element(delay, delay + source.size() * target.channels)),
          entries_(source.padded()) {
        for (size_t i = 0; i < source.size(); ++i)
            for (int o = 0; o < target.channels; ++o) {
                const size_t at = o * source.size() + i;
                if (weight[at]) entries_[place(source, i)].push_back({o, delay[at], weight[at]});
            }
    }

    void deliver(const Active& source, Arrivals& to, const Kernels&) const override {
        std::vector<int32_t*> slots(longest_ + 1);
        for (int delay = 0; delay <= longest_; ++delay)
            slots[delay] = reinterpret_cast<int32_t*>(to.current(delay));
        bool any = false;
        for_each(source, [&](size_t input, int32_t value) {
            any = true;
            for (const Entry& entry : entries_[input]) {
                int32_t& sum = slots[entry.delay][entry.output];
                sum = int32_t(uint32_t(sum) + uint32_t(entry.weight) * uint32_t(value));
            }
        });
        if (any)
            for (int delay = 0; delay <= longest_; ++delay) *to.touched(delay) = 1;
    }
    int longest_delay() const override { return longest_; }
    int64_t reach() const override { return std::numeric_limits<int64_t>::max(); }

private:
    struct Entry {
        int output, delay;
        int32_t weight;
    };

    int longest_;
    std::vector<std::vector<Entry>> entries_;  // by input
};

}  // namespace

void Arrivals::clear(bool narrow) {
    bytes_ = narrow ? 2 : 4;
    std::fill(currents_.begin(), currents_.end(), 0);
    std::fill(touched_.begin(), touched_.end(), 0);
    now_ = 0;
}

std::unique_ptr<Synapse> convolution(Shape source, Shape target, const Geometry& geometry,
                                     const int32_t* weight) {
    const int64_t reach = largest_sum(
        weight, target.channels,
        size_t(source.channels / geometry.groups) * geometry.kernel.y * geometry.kernel.x);
    if (PatternConvolution::fits(source, geometry, reach))
        return std::make_unique<PatternConvolution>(source, target, geometry, weight);
    const int stride = geometry.stride.x;
    if (stride > 1 && geometry.groups == 1 && geometry.dilation.x == 1 &&
        geometry.padding.x % stride == 0)
        return in_blocks(source, target, geometry, weight);
    return std::make_unique<Convolution>(source, target, geometry, weight);
}

std::unique_ptr<Synapse> dense(Shape source, Shape target, const int32_t* weight,
                               const int32_t* delay) {
    bool uniform = true;
    for (size_t i = source.size(); delay && i < source.size() * target.channels; ++i)
        uniform &= delay[i] == delay[i % source.size()];
    if (uniform) return std::make_unique<Dense>(source, target, weight, delay);
    return std::make_unique<DelayedDense>(source, target, weight, delay);
}

}  // namespace lmht::netx
