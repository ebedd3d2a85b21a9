// A network that is ready to run: its description without weights, and the model that holds them.
#pragma once
#include <memory>

#include "engine/core/model.hpp"
#include "network.hpp"

namespace lmht::library {

struct Loaded {
    Network network;
    std::shared_ptr<const Model> model;
    int64_t steps = 0;  // T_in of the file
};

// Reads the content of a flat file. `isa`: null for the best one, as for choose_kernels.
std::shared_ptr<const Loaded> load_network(const uint8_t* bytes, size_t size, const char* isa);

// The same for one time-step of a network in which none depends on a later one.
std::shared_ptr<const Loaded> load_one_step(const uint8_t* bytes, size_t size, const char* isa);

// The content of a file. Throws Error where it cannot be read.
std::vector<uint8_t> read_file(const char* path);

}  // namespace lmht::library
