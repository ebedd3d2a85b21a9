#include "loaded.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "errors.hpp"
#include "flat.hpp"
#include "planner.hpp"

namespace lmht::library {
namespace {

constexpr size_t PIECE = size_t(1) << 20;

// The model holds what it needs, and the weights of a file go away with its content.
void forget_arrays(Network& network) {
    for (lmht::library::Layer& layer : network.layers) {
        layer.synapses.clear();
        for (auto* values : {&layer.bias, &layer.threshold, &layer.v0, &layer.omega, &layer.floor})
            *values = std::vector<int32_t>();
    }
}

// Whether the T-GIM of a layer is a multiple of the identity.
bool is_stepwise(const Layer& layer) {
    if (layer.blocks() != layer.columns) return false;
    for (size_t i = 0; i < layer.omega.size(); ++i) {
        const bool diagonal = i % size_t(layer.columns + 1) == 0;
        if (layer.omega[i] != (diagonal ? layer.omega[0] : 0)) return false;
    }
    return true;
}

// Leaves one time-step of a network.
void cut_to_one_step(Network& network) {
    network.layers.front().steps = 1;
    network.window = {};  // of the whole
    for (Layer& layer : network.layers) {
        layer.macs = 0;  // `derive` adds to it
        if (layer.type != LayerType::Neurons) continue;
        if (!is_stepwise(layer))
            throw Error(LMHT_UNSUPPORTED,
                        "a time-step of this network depends on later ones: the T-GIM of layer '" +
                            layer.name + "' is not a multiple of the identity");
        layer.omega.resize(1);
        layer.columns = 1;
        layer.steps = layer.substeps;
    }
    derive(network);
}

std::shared_ptr<const Loaded> load(Network network, int64_t steps, const char* isa) {
    const auto loaded = std::make_shared<Loaded>();
    loaded->network = std::move(network);
    loaded->model = make_model(loaded->network, isa ? isa : "");
    loaded->steps = steps;
    forget_arrays(loaded->network);
    return loaded;
}

}  // namespace

std::shared_ptr<const Loaded> load_network(const uint8_t* bytes, size_t size, const char* isa) {
    Network network = read_flat(bytes, size);
    const int64_t steps = network.input().steps;
    return load(std::move(network), steps, isa);
}

std::shared_ptr<const Loaded> load_one_step(const uint8_t* bytes, size_t size, const char* isa) {
    Network network = read_flat(bytes, size);
    const int64_t steps = network.input().steps;
    cut_to_one_step(network);
    return load(std::move(network), steps, isa);
}

std::vector<uint8_t> read_file(const char* path) {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path, "rb"), std::fclose);
    if (!file) throw Error(LMHT_IO_ERROR, std::strerror(errno));
    std::vector<uint8_t> content;
    for (size_t size = 0;;) {  // a pipe has no size
        content.resize(size + PIECE);
        size += std::fread(content.data() + size, 1, PIECE, file.get());
        content.resize(size);
        if (std::ferror(file.get())) throw Error(LMHT_IO_ERROR, "cannot be read");
        if (std::feof(file.get())) return content;
    }
}

}  // namespace lmht::library
