#include "native/cache.hpp"

#if defined(__linux__)
#include <unistd.h>
#endif

namespace lmht {

size_t second_level_cache(size_t typical) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    static const long found = sysconf(_SC_LEVEL2_CACHE_SIZE);  // of glibc
    if (found > 0) return size_t(found);
#endif
    return typical;
}

}  // namespace lmht
