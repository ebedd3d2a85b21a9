#include <algorithm>
#include <limits>

#include "synapse.hpp"

namespace lmht::netx {
namespace {

// All outputs of an input have the same delay: a row of weights is added at once.
class Dense : public Synapse {
public:
    Dense(Shape source, Shape target, const int32_t* weight, const int32_t* delay)
        : pitch_(target.pitch()),
          reach_(largest_sum(weight, target.channels, source.size())),
          delays_(source.padded()),
          weights_(weight, source.size() * target.channels, source.padded() * pitch_) {
        for (size_t i = 0; i < source.size(); ++i) {
            const size_t input = source.index(i);
            if (delay) delays_[input] = uint8_t(delay[i]);
            for (int o = 0; o < target.channels; ++o)
                weights_.set(input * pitch_ + o, weight[o * source.size() + i]);
        }
        longest_ = *std::max_element(delays_.begin(), delays_.end());
    }

    void deliver(const LayerSpikes& source, CurrentRing& to,
                 const Kernels& kernels) const override {
        for_each_spike(source, [&](size_t input, int32_t value) {
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
    std::vector<uint8_t> delays_;  // by input
    Weights weights_;              // [input][pitch]
};

// Each weight has a delay of its own: the weights that are not 0 are added one by one.
class DelayedDense : public Synapse {
public:
    DelayedDense(Shape source, Shape target, const int32_t* weight, const int32_t* delay)
        : longest_(*std::max_element(delay, delay + source.size() * target.channels)),
          entries_(source.padded()) {
        for (size_t i = 0; i < source.size(); ++i)
            for (int o = 0; o < target.channels; ++o) {
                const size_t at = o * source.size() + i;
                if (weight[at]) entries_[source.index(i)].push_back({o, delay[at], weight[at]});
            }
    }

    void deliver(const LayerSpikes& source, CurrentRing& to, const Kernels&) const override {
        std::vector<int32_t*> slots(longest_ + 1);
        for (int delay = 0; delay <= longest_; ++delay)
            slots[delay] = reinterpret_cast<int32_t*>(to.current(delay));
        bool any = false;
        for_each_spike(source, [&](size_t input, int32_t value) {
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

// Whether all outputs of each input have the same delay, [outputs, inputs].
bool uniform(const int32_t* delay, size_t outputs, size_t inputs) {
    for (size_t i = inputs; i < inputs * outputs; ++i)
        if (delay[i] != delay[i % inputs]) return false;
    return true;
}

}  // namespace

std::unique_ptr<Synapse> make_dense(Shape source, Shape target, const int32_t* weight,
                                    const int32_t* delay) {
    if (!delay || uniform(delay, target.channels, source.size()))
        return std::make_unique<Dense>(source, target, weight, delay);
    return std::make_unique<DelayedDense>(source, target, weight, delay);
}

}  // namespace lmht::netx
