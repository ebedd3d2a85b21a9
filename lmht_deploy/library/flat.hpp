// Reads flat files; lmht_deploy/formats/flat.py describes the format.
#pragma once
#include <cstddef>

#include "network.hpp"

namespace lmht::library {

constexpr uint32_t FLAT_VERSION = 1;

// The network in the content of a file; its weights stay in `bytes`. Throws Error for a file that
// is damaged, of another kind or of another version, or that holds no valid network.
Network read_flat(const uint8_t* bytes, size_t size);

}  // namespace lmht::library
