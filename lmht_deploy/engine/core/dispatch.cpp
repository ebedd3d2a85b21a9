#include <stdexcept>

#include "model.hpp"

namespace lmht {
namespace {

// Tiers that this CPU runs, the best first.
std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vnni");
    if (avx512) found.push_back(kernels_avx512vnni());
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt")) found.push_back(kernels_avx2());
#endif
    found.push_back(kernels_generic());
    return found;
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Kernels* kernels : available()) names.push_back(kernels->name);
    return names;
}

const Kernels* choose_kernels(const std::string& isa) {
    const auto found = available();
    if (isa.empty()) return found.front();
    std::string names;
    for (const Kernels* kernels : found) {
        if (isa == kernels->name) return kernels;
        names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    }
    throw std::invalid_argument("instruction set '" + isa + "' is not available here; there are: " + names);
}

}  // namespace lmht
