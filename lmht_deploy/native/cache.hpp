// The cache of a core.
#pragma once
#include <cstddef>

namespace lmht {

// Bytes of the second-level cache, or `typical` where the system does not tell them.
size_t second_level_cache(size_t typical);

}  // namespace lmht
