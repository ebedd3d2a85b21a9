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

}  // namespace

std::shared_ptr<const Loaded> load_network(const uint8_t* bytes, size_t size, const char* isa) {
    const auto loaded = std::make_shared<Loaded>();
    loaded->network = read_flat(bytes, size);
    loaded->model = make_model(loaded->network, isa ? isa : "");
    forget_arrays(loaded->network);
    return loaded;
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
