#include <algorithm>
#include <array>

#include "errors.hpp"
#include "network.hpp"
#include "rule.hpp"

namespace lmht::library {
namespace {

constexpr int64_t MAX_COUNT = int64_t(1) << 53;
constexpr int64_t MAX_OMEGA = 1 << 16;
constexpr int64_t LEAK_ONE = 4096;

[[noreturn]] void refuse(const Layer& layer, const std::string& message) {
    throw Error(LMHT_INVALID_FILE, "layer '" + layer.name + "': " + message);
}

void check(bool holds, const Layer& layer, const char* message) {
    if (!holds) refuse(layer, message);
}

// ------------------------------------------------------------------------------------------------
// shapes

struct Axis {
    int64_t size, kernel, stride, padding, dilation;

    int64_t output() const {
        const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
        return room < 0 ? 0 : room / stride + 1;
    }
};

Shape slide(const Layer& layer, const Shape& in, int64_t channels, Extent kernel, Extent stride,
            Extent padding, Extent dilation) {
    check(!in.flat, layer, "it reads a flat layer and needs one with height and width");
    const Shape out{channels, Axis{in.height, kernel.y, stride.y, padding.y, dilation.y}.output(),
                    Axis{in.width, kernel.x, stride.x, padding.x, dilation.x}.output(), false};
    check(out.height >= 1 && out.width >= 1, layer, "its kernel is larger than its input");
    return out;
}

Shape shape_of(const Layer& layer, const Synapse& synapse, const Shape& in) {
    switch (synapse.type) {
        case SynapseType::Conv:
            check(synapse.in * synapse.groups == in.channels, layer,
                  "a weight does not fit the channels that it reads");
            return slide(layer, in, synapse.out, synapse.kernel, synapse.stride, synapse.padding,
                         synapse.dilation);
        case SynapseType::Linear:
            check(in.flat && in.channels == synapse.in, layer,
                  "a weight does not fit the inputs that it reads");
            return {synapse.out};
        default:
            check(in.channels == synapse.out, layer, "a weight does not fit the channels");
            return in;
    }
}

int64_t entries(const Shape& shape) {
    return product(product(shape.channels, shape.height), shape.width);
}

// How many (output, tap) pairs of a one-dimensional convolution read a position of the input.
int64_t taps(const Axis& axis) {
    int64_t count = 0;
    for (int64_t i = 0; i < axis.kernel; ++i) {  // reads i·d - p + s·output
        const int64_t offset = i * axis.dilation - axis.padding;
        const int64_t first = offset >= 0 ? 0 : (-offset + axis.stride - 1) / axis.stride;
        const int64_t last = axis.size - 1 - offset;
        const int64_t end = last < 0 ? 0 : std::min(axis.output(), last / axis.stride + 1);
        count += std::max<int64_t>(end - first, 0);
    }
    return count;
}

int64_t macs_of(const Synapse& synapse, const Layer& source) {
    const Shape& in = source.shape;
    int64_t pairs;  // of an output and an input that it reads
    if (synapse.type == SynapseType::Conv) {
        const Axis rows{in.height, synapse.kernel.y, synapse.stride.y, synapse.padding.y,
                        synapse.dilation.y};
        const Axis columns{in.width, synapse.kernel.x, synapse.stride.x, synapse.padding.x,
                           synapse.dilation.x};
        pairs = product(product(taps(rows), taps(columns)),
                        product(in.channels, synapse.out / synapse.groups));
    } else {
        pairs = product(entries(in), synapse.type == SynapseType::Linear ? synapse.out : 1);
    }
    return product(pairs, source.steps);
}

// ------------------------------------------------------------------------------------------------
// bounds

struct Range {
    int64_t low, high;
};

Range per_block(const Layer& source) {
    return {std::min<int64_t>(source.min, 0) * source.substeps,
            std::max<int64_t>(source.max, 0) * source.substeps};
}

// Whether `value` fits 32 bits; the layer is refused otherwise.
int64_t fits(const Layer& layer, const char* what, int64_t value) {
    if (value > INT32_MAX) refuse(layer, std::string(what) + " can exceed 32 bits");
    return value;
}

// The range of the current X[j] of channel `c`; raises the bound of a partial sum.
Range current_of(const Network& network, const Layer& layer, size_t c, int64_t& bound) {
    int64_t low = layer.bias[c], high = low, magnitude = std::abs(low);
    for (const Synapse& synapse : layer.synapses) {
        const Range k = per_block(network.layers[synapse.source]);
        const int64_t n = synapse.weights_of_output();
        int64_t positive = 0, negative = 0;
        for (const int8_t *w = synapse.weight + int64_t(c) * n, *end = w + n; w != end; ++w)
            (*w > 0 ? positive : negative) += *w;
        positive *= int64_t(1) << synapse.exponent;
        negative *= int64_t(1) << synapse.exponent;
        magnitude = sum(magnitude, product(positive - negative, std::max(k.high, -k.low)));
        fits(layer, "a synaptic current", magnitude);
        low += positive * k.low + negative * k.high;
        high += positive * k.high + negative * k.low;
    }
    bound = std::max(bound, fits(layer, "a synaptic current", magnitude));
    return {low, high};
}

// What a sub-step adds to the potential: the sums of the positive and the negative entries of Ω.
struct Injected {
    int64_t positive = 0, negative = 0;
};

std::vector<Injected> injections(const Layer& layer) {
    const std::vector<int32_t> rows = layer.unrolled_omega();
    std::vector<Injected> found(size_t(layer.steps));
    for (size_t i = 0; i < rows.size(); ++i) {
        const int32_t entry = rows[i];
        Injected& row = found[i / size_t(layer.columns)];
        (entry > 0 ? row.positive : row.negative) += entry;
    }
    return found;
}

// The interval of the potential of one channel, followed through all sub-steps.
class Potential {
public:
    Potential(const Layer& layer, size_t c)
        : layer_(layer),
          theta_(layer.threshold[c]),
          floor_(layer.floor.empty() ? INT64_MIN : layer.floor[c]),
          v_{layer.v0[c], layer.v0[c]} {}

    void prove(const std::vector<Injected>& injected, Range current) {
        for (size_t step = 0; step < injected.size(); ++step) {
            if (step % size_t(layer_.substeps) == 0) {
                const Range kept{leaked(v_.low), leaked(v_.high)};
                fits(kept);
                v_ = layer_.reset == Reset::SubtractLate ? late() : kept;
            }
            const Injected& row = injected[step];
            v_.low += row.positive * current.low + row.negative * current.high;
            v_.high += row.positive * current.high + row.negative * current.low;
            fits(v_);
            v_ = after_spikes({std::max(v_.low, floor_), std::max(v_.high, floor_)});
        }
    }

private:
    void fits(Range v) const { library::fits(layer_, "a potential", std::max(-v.low, v.high)); }

    // Truncated toward zero.
    int64_t leaked(int64_t v) const { return v * layer_.leak / LEAK_ONE; }

    int64_t spikes(int64_t v) const {
        return v < 0 ? 0 : std::min<int64_t>(v / theta_, layer_.levels);
    }

    Range after_spikes(Range v) const {
        switch (layer_.reset) {
            case Reset::SubtractLate:
                return v;
            case Reset::Zero:
                return {std::min<int64_t>(v.low, 0), std::clamp<int64_t>(v.high, 0, theta_ - 1)};
            default:
                return {std::min<int64_t>(v.low, 0),
                        std::max(std::min(v.high, theta_ - 1), v.high - layer_.levels * theta_)};
        }
    }

    // What is kept of the potentials before I[t], with the reset that subtracts late. λ·v - k·θ has
    // its extremes at the ends of the interval, and of the pieces of equal k next to them.
    Range late() const {
        const int64_t first = spikes(v_.low), last = spikes(v_.high);
        Range kept{late(v_.low), late(v_.high)};
        if (last == first) return kept;
        for (const int64_t k : {first + 1, last}) {
            kept.low = std::min(kept.low, late(k * theta_));
            kept.high = std::max(kept.high, late(k * theta_ - 1));
        }
        return kept;
    }

    int64_t late(int64_t v) const { return leaked(v) - spikes(v) * theta_; }

    const Layer& layer_;
    const int64_t theta_, floor_;
    Range v_;
};

void prove(const Network& network, Layer& layer) {
    std::vector<Range> currents;
    for (size_t c = 0; c < layer.bias.size(); ++c)
        currents.push_back(current_of(network, layer, c, layer.current));
    if (layer.type == LayerType::Readout) return;
    const std::vector<Injected> injected = injections(layer);
    int64_t mixed = 0;
    for (const Injected& row : injected) mixed = std::max(mixed, row.positive - row.negative);
    fits(layer, "a mixed current", product(mixed, layer.current));
    for (size_t c = 0; c < currents.size(); ++c) Potential(layer, c).prove(injected, currents[c]);
}

// ------------------------------------------------------------------------------------------------
// layers

void derive_synaptic(const Network& network, Layer& layer) {
    const Layer& first = network.layers[layer.synapses[0].source];
    layer.shape = shape_of(layer, layer.synapses[0], first.shape);
    for (const Synapse& synapse : layer.synapses) {
        const Layer& source = network.layers[synapse.source];
        check(shape_of(layer, synapse, source.shape) == layer.shape, layer,
              "synapses that are summed give different shapes");
        check(source.blocks() == first.blocks(), layer,
              "synapses that are summed give different numbers of steps");
        if (source.pixels) layer.macs = sum(layer.macs, macs_of(synapse, source));
    }
    const auto fit = [&](const std::vector<int32_t>& values) {
        check(int64_t(values.size()) == layer.shape.channels, layer,
              "a bias, threshold or initial potential does not fit the channels");
    };
    fit(layer.bias);
    if (layer.type == LayerType::Readout) {
        check(layer.shape.flat, layer, "a read-out is flat");
        return prove(network, layer);
    }
    fit(layer.threshold);
    fit(layer.v0);
    for (const int32_t theta : layer.threshold)
        check(theta >= 1, layer, "every threshold must be at least 1");
    for (const int32_t entry : layer.omega)
        check(entry >= -MAX_OMEGA && entry <= MAX_OMEGA, layer, "its T-GIM is out of range");
    if (!layer.floor.empty()) fit(layer.floor);
    for (const int32_t floor : layer.floor)
        check(floor <= 0, layer, "every floor must be at most 0");
    check(layer.reset == Reset::Subtract || layer.substeps == 1, layer,
          "its reset is not possible with sub-steps");
    check(layer.columns == first.blocks(), layer, "its T-GIM does not fit the input steps");
    layer.max = layer.levels;
    prove(network, layer);
}

void derive_unweighted(const Network& network, Layer& layer) {
    const Layer& source = network.layers[layer.sources[0]];
    layer.steps = source.steps;
    layer.substeps = source.substeps;
    layer.min = source.min;
    layer.max = source.max;
    layer.pixels = source.pixels;
    if (layer.type == LayerType::Flatten) {
        layer.shape = {entries(source.shape)};
        return;
    }
    check(2 * int64_t(layer.padding.y) <= layer.kernel.y &&
              2 * int64_t(layer.padding.x) <= layer.kernel.x,
          layer, "its padding must be at most half the kernel");
    layer.shape = slide(layer, source.shape, source.shape.channels, layer.kernel, layer.stride,
                        layer.padding, {});
    if (layer.type == LayerType::MaxPool) return;
    if (layer.padding.y || layer.padding.x) {
        layer.min = std::min<int64_t>(layer.min, 0);
        layer.max = std::max<int64_t>(layer.max, 0);
    }
    const int64_t area = int64_t(layer.kernel.y) * layer.kernel.x;
    layer.min = product(layer.min, area);
    layer.max = product(layer.max, area);
}

void check_output(const Layer& layer) {
    check(entries(layer.shape) <= INT32_MAX, layer, "it has too many entries");
    const int64_t largest = std::max(std::abs(layer.min), std::abs(layer.max));
    check(product(largest, layer.substeps) <= MAX_COUNT, layer, "its spike counts are too large");
}

void check_ends(const Network& network) {
    const std::vector<Layer>& layers = network.layers;
    bool valid = layers.size() >= 2;
    for (size_t i = 0; i < layers.size(); ++i) {
        valid = valid && (layers[i].type == LayerType::Input) == (i == 0);
        valid = valid && (layers[i].type == LayerType::Readout) == (i + 1 == layers.size());
    }
    require_file(valid, "a network starts with its Input and ends with its Readout");
}

void check_rule(const Network& network) {
    const lmht_window_rule& rule = network.window;
    const bool none = rule.by == LMHT_BY_NONE && rule.length == 0 && rule.hop == 0;
    require_file(none || is_rule(rule, network.input().steps), "the window rule is not valid");
    const size_t classes = network.classes.size();
    require_file(classes == 0 || int64_t(classes) == network.readout().shape.channels,
                 "the names of the classes do not fit the network");
}

}  // namespace

std::vector<int32_t> Layer::unrolled_omega() const {
    std::vector<int32_t> rows(size_t(steps * columns));
    for (size_t t = 0; t < omega.size() / size_t(columns); ++t)
        for (int l = 0; l < (uniform ? substeps : 1); ++l)
            std::copy_n(omega.begin() + int64_t(t) * columns, columns,
                        rows.begin() + (int64_t(t) * substeps + l) * columns);
    return rows;
}

void derive(Network& network) {
    check_ends(network);
    std::vector<bool> read(network.layers.size());
    for (Layer& layer : network.layers) {
        for (const int source : layer.sources) read[size_t(source)] = true;
        if (layer.type == LayerType::Input)
            layer.pixels = layer.image;
        else if (layer.has_synapses())
            derive_synaptic(network, layer);
        else
            derive_unweighted(network, layer);
        check_output(layer);
    }
    for (size_t i = 0; i + 1 < read.size(); ++i)
        check(read[i], network.layers[i], "nothing reads it");
    check_rule(network);
}

}  // namespace lmht::library
