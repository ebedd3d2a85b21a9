// Translates a network to the layers of the engine's model. Flat layers become images of one pixel,
// and every synapse becomes a convolution; lmht_deploy/engine/_plan.py does the same for Python.
#pragma once
#include <memory>

#include "engine/core/model.hpp"
#include "network.hpp"

namespace lmht::library {

// `isa`: as for choose_kernels. Throws Error where the engine cannot run the network.
std::shared_ptr<const Model> make_model(const Network& network, const std::string& isa);

}  // namespace lmht::library
