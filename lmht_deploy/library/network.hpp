// A network as a flat file describes it, and what follows from that for each layer. The names are
// those of lmht_deploy/ir.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/geometry.hpp"
#include "engine/core/kernels.hpp"
#include "include/lmht.h"

namespace lmht::library {

enum class LayerType {  // as numbered in a flat file
    Input = LMHT_LAYER_INPUT,
    Neurons = LMHT_LAYER_NEURONS,
    SumPool = LMHT_LAYER_SUM_POOL,
    MaxPool = LMHT_LAYER_MAX_POOL,
    Flatten = LMHT_LAYER_FLATTEN,
    Readout = LMHT_LAYER_READOUT
};
enum class SynapseType { Conv, Linear, Scale };

constexpr Extent NO_PADDING{0, 0};

struct Synapse {
    SynapseType type = SynapseType::Conv;
    int source = 0;
    const int8_t* weight = nullptr;  // [out][in][kernel.y][kernel.x], in the file
    int64_t out = 0, in = 1;
    Extent kernel, stride, padding = NO_PADDING, dilation;
    int groups = 1, exponent = 0;

    int64_t weights_of_output() const { return in * kernel.y * kernel.x; }
};

struct Shape {  // a flat layer has one pixel
    int64_t channels = 0, height = 1, width = 1;
    bool flat = true;

    bool operator==(const Shape&) const = default;
};

struct Layer {
    LayerType type = LayerType::Input;
    std::string name;
    std::vector<int> sources;

    // Of the input.
    bool image = false;

    // Of pools.
    Extent kernel, stride, padding = NO_PADDING;

    // Of neurons and the read-out.
    std::vector<Synapse> synapses;
    std::vector<int32_t> bias, threshold, v0, omega;  // omega: [time-steps][columns]
    int64_t columns = 0;
    int leak = 0, levels = 0;
    bool uniform = false;  // injection
    Reset reset = Reset::Subtract;
    std::vector<int32_t> floor;  // empty for none
    double scale = 1;

    // Derived.
    Shape shape;
    int64_t steps = 1;  // sub-steps included
    int substeps = 1;
    int64_t min = 0, max = 0;  // k of a step
    bool pixels = false;       // an image, also pooled or flattened
    int64_t current = 0;       // proved bound of |X[j]|
    int64_t macs = 0;

    bool has_synapses() const { return type == LayerType::Neurons || type == LayerType::Readout; }
    bool is_pool() const { return type == LayerType::SumPool || type == LayerType::MaxPool; }
    int64_t blocks() const { return steps / substeps; }
    // Ω with one row per sub-step.
    std::vector<int32_t> unrolled_omega() const;
};

struct Network {
    std::vector<Layer> layers;
    std::string metadata;
    std::vector<std::string> classes;
    lmht_window_rule window{};
    double min_margin = 0;

    const Layer& input() const { return layers.front(); }
    const Layer& readout() const { return layers.back(); }
};

// Checks the layers and derives their shapes, steps and ranges. Proves that 32 bits hold every
// accumulator, as lmht_deploy/ir/bounds.py does. Throws Error where the network is not valid.
void derive(Network& network);

}  // namespace lmht::library
