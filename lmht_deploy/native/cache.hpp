// The cache of a core.
#pragma once
#include <cstddef>

namespace lmht {

// Size of the second-level cache in bytes, or `typical` if the system does not report it.
size_t second_level_cache(size_t typical);

}  // namespace lmht
