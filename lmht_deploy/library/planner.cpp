#include "planner.hpp"

#include <algorithm>

#include "engine/core/cost_measurement.hpp"
#include "errors.hpp"

namespace lmht::library {
namespace {

class Planner {
public:
    Planner(const Network& network, Model& model)
        : network_(network), model_(model), ids_(network.layers.size()) {}

    void add_all() {
        for (size_t i = 0; i < network_.layers.size(); ++i) ids_[i] = add(int(i));
    }

private:
    int add(int index) {
        const Layer& layer = network_.layers[size_t(index)];
        const Shape& shape = layer.shape;
        switch (layer.type) {
            case LayerType::Input:
                return model_.add_input(int(shape.channels), int(shape.height), int(shape.width),
                                        int(layer.steps), layer.min, layer.max);
            case LayerType::SumPool:
            case LayerType::MaxPool:
                return model_.add_pool(id(layer.sources[0]), layer.kernel, layer.stride,
                                       layer.padding, layer.type == LayerType::MaxPool);
            case LayerType::Flatten:
                return is_free(index) ? id(layer.sources[0])
                                      : model_.add_flatten(id(layer.sources[0]));
            case LayerType::Neurons:
                return add_neurons(layer);
            default:
                add_readout(layer);
                return -1;
        }
    }

    int id(int layer) const { return ids_[size_t(layer)]; }

    int add_neurons(const Layer& layer) {
        const std::vector<int32_t> omega = layer.unrolled_omega();
        return model_.add_neurons(specs(layer),
                                  {.bias = layer.bias.data(),
                                   .threshold = layer.threshold.data(),
                                   .v0 = layer.v0.data(),
                                   .omega = omega.data(),
                                   .steps = int(layer.steps),
                                   .substeps = layer.substeps,
                                   .levels = layer.levels,
                                   .leak = layer.leak,
                                   .reset = layer.reset,
                                   .floor = layer.floor.empty() ? nullptr : layer.floor.data()});
    }

    void add_readout(const Layer& layer) {
        const int64_t steps = network_.layers[size_t(layer.sources[0])].blocks();
        model_.add_readout(specs(layer), layer.bias.data(), int(layer.bias.size()),
                           product(layer.current, steps) <= INT32_MAX);
    }

    std::vector<SynapseSpec> specs(const Layer& layer) const {
        std::vector<SynapseSpec> found;
        for (const Synapse& synapse : layer.synapses) found.push_back(spec(synapse));
        return found;
    }

    SynapseSpec spec(const Synapse& synapse) const {
        const Tensor& in = model_.tensors[size_t(id(synapse.source))];
        const bool linear = synapse.type == SynapseType::Linear;
        const bool scale = synapse.type == SynapseType::Scale;
        return {.source = id(synapse.source),
                .weight = synapse.weight,
                .channels_out = int(synapse.out),
                .kernel = linear ? Extent{in.height, in.width} : synapse.kernel,
                .stride = synapse.stride,
                .padding = synapse.padding,
                .dilation = synapse.dilation,
                .groups = scale ? int(synapse.out) : synapse.groups,
                .exponent = synapse.exponent,
                .counted = !network_.layers[size_t(synapse.source)].pixels};
    }

    // Whether a Flatten needs no output of its own: its source has one pixel, or only linear
    // synapses read it, which are convolutions as large as their input.
    bool is_free(int index) const {
        const Tensor& in = model_.tensors[size_t(id(network_.layers[size_t(index)].sources[0]))];
        return (in.height == 1 && in.width == 1) ||
               std::all_of(network_.layers.begin(), network_.layers.end(),
                           [&](const Layer& layer) { return reads_as_linear(layer, index); });
    }

    static bool reads_as_linear(const Layer& layer, int index) {
        if (layer.type == LayerType::Flatten) return layer.sources[0] != index;
        return std::all_of(layer.synapses.begin(), layer.synapses.end(), [&](const Synapse& s) {
            return s.source != index || s.type == SynapseType::Linear;
        });
    }

    const Network& network_;
    Model& model_;
    std::vector<int> ids_;
};

const Kernels* kernels_of(const std::string& isa) try {
    return choose_kernels(isa);
} catch (const std::invalid_argument& error) {
    throw Error(LMHT_UNSUPPORTED, error.what());
}

// As in Python, by measuring once per process. A page does not wait for that.
const Costs& costs_of(const Kernels& kernels) {
#if defined(__wasm__)
    return kernels.costs;
#else
    return measured_costs(kernels);
#endif
}

}  // namespace

std::shared_ptr<const Model> make_model(const Network& network, const std::string& isa) {
    const Kernels* const kernels = kernels_of(isa);
    const auto model = std::make_shared<Model>(kernels, costs_of(*kernels), PathPolicy::Cheapest);
    try {
        Planner(network, *model).add_all();
    } catch (const std::invalid_argument& error) {
        throw Error(LMHT_UNSUPPORTED,
                    std::string("the engine cannot run this network: ") + error.what());
    }
    return model;
}

}  // namespace lmht::library
