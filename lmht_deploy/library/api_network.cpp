// lmht.h: versions, errors and networks.
#include <algorithm>
#include <cstring>

#include "api.hpp"
#include "flat.hpp"

namespace lib = lmht::library;

namespace {

thread_local char message[1024] = "";

const lib::Layer* layer_of(const lib::Network& network, int32_t index) {
    lib::require_argument(index >= 0 && size_t(index) < network.layers.size(),
                          "there is no such layer");
    return &network.layers[size_t(index)];
}

// How many layers before `index` are of a kind.
template <class Is>
int32_t number_before(const lib::Network& network, size_t index, Is is) {
    return int32_t(
        std::count_if(network.layers.begin(), network.layers.begin() + int64_t(index), is));
}

bool is_neurons(const lib::Layer& layer) {
    return layer.type == lib::LayerType::Neurons;
}
bool has_synapses(const lib::Layer& layer) {
    return layer.has_synapses();
}

lmht_layer_info describe(const lib::Network& network, int32_t index) {
    const lib::Layer& layer = *layer_of(network, index);
    const bool neurons = is_neurons(layer);
    return {.name = layer.name.c_str(),
            .type = int32_t(layer.type),
            .channels = int32_t(layer.shape.channels),
            .height = int32_t(layer.shape.height),
            .width = int32_t(layer.shape.width),
            .steps = int32_t(layer.steps),
            .levels = layer.levels,
            .spikes = neurons ? number_before(network, size_t(index), is_neurons) : -1,
            .sops = layer.has_synapses() ? number_before(network, size_t(index), has_synapses) : -1,
            .macs = layer.macs};
}

lmht_network_info describe(const lib::Loaded& loaded) {
    const lib::Network& network = loaded.network;
    const lib::Layer& input = network.input();
    return {.channels = int32_t(input.shape.channels),
            .height = int32_t(input.shape.height),
            .width = int32_t(input.shape.width),
            .steps = int32_t(input.steps),
            .min_count = int32_t(input.min),
            .max_count = int32_t(input.max),
            .kind = input.image ? LMHT_IMAGE : LMHT_EVENTS,
            .classes = int32_t(network.readout().shape.channels),
            .layers = int32_t(network.layers.size()),
            .neuron_layers = loaded.model->neuron_layers,
            .synaptic_layers = loaded.model->synaptic_layers,
            .reserved = 0,
            .scale = network.readout().scale,
            .min_margin = network.min_margin,
            .weight_bytes = loaded.model->weight_bytes(),
            .window = network.window};
}

}  // namespace

lmht_status lmht::library::note_error(lmht_status status, const char* text) noexcept {
    // Not by snprintf, which WebAssembly would have to bring along.
    const size_t length = std::min(std::strlen(text), sizeof message - 1);
    std::memcpy(message, text, length);
    message[length] = 0;
    return status;
}

uint32_t lmht_abi_version() {
    return LMHT_ABI_VERSION;
}
const char* lmht_version() {
    return LMHT_VERSION_TEXT;
}
uint32_t lmht_file_version() {
    return lib::FLAT_VERSION;
}
const char* lmht_error_message() {
    return message;
}

const char* lmht_isa(size_t index) {
    static const std::vector<std::string> names = lmht::available_isas();
    return index < names.size() ? names[index].c_str() : nullptr;
}

lmht_status lmht_network_open(const char* path, const char* isa, lmht_network** network) {
    return lib::guarded([&] {
        lib::require_pointers(path, network);
        *network = lib::naming_file(path, [&] {
            const std::vector<uint8_t> content = lib::read_file(path);
            return new lmht_network{lib::load_network(content.data(), content.size(), isa)};
        });
        return LMHT_OK;
    });
}

lmht_status lmht_network_read(const void* bytes, size_t size, const char* isa,
                              lmht_network** network) {
    return lib::guarded([&] {
        lib::require_pointers(bytes, network);
        const auto* const content = static_cast<const uint8_t*>(bytes);
        *network = lib::naming_file(
            "the network", [&] { return new lmht_network{lib::load_network(content, size, isa)}; });
        return LMHT_OK;
    });
}

void lmht_network_free(lmht_network* network) {
    delete network;
}

lmht_status lmht_network_get_info(const lmht_network* network, lmht_network_info* info) {
    return lib::guarded([&] {
        lib::require_pointers(network, info);
        *info = describe(*network->loaded);
        return LMHT_OK;
    });
}

lmht_status lmht_network_get_layer(const lmht_network* network, int32_t index,
                                   lmht_layer_info* info) {
    return lib::guarded([&] {
        lib::require_pointers(network, info);
        *info = describe(network->loaded->network, index);
        return LMHT_OK;
    });
}

const char* lmht_network_class_name(const lmht_network* network, int32_t index) {
    if (!network || index < 0) return nullptr;
    const std::vector<std::string>& names = network->loaded->network.classes;
    return size_t(index) < names.size() ? names[size_t(index)].c_str() : nullptr;
}

const char* lmht_network_metadata(const lmht_network* network) {
    return network ? network->loaded->network.metadata.c_str() : nullptr;
}

const char* lmht_network_isa(const lmht_network* network) {
    return network ? network->loaded->model->kernels->name : nullptr;
}
