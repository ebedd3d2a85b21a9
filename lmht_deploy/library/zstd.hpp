// Decompression of Zstandard frames.
#pragma once
#include <vector>

#include "recording.hpp"

namespace lmht::library {

// The content of the frame that `frame` begins with. Throws Error where it is damaged, needs a
// dictionary, or holds more than `most` bytes.
std::vector<uint8_t> decompress_zstd(Bytes frame, size_t most);

}  // namespace lmht::library
