#include <stdexcept>

#include "model.hpp"

namespace lmht {
namespace {

// Tiers that this CPU runs, the best first.
std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
#if defined(__x86_64__)
    // What each translation unit is compiled for: see CMakeLists.txt.
    __builtin_cpu_init();
#define HAS __builtin_cpu_supports
    const bool avx2 = HAS("avx2") && HAS("bmi") && HAS("bmi2") && HAS("lzcnt") && HAS("popcnt");
    const bool avx512 = HAS("avx512f") && HAS("avx512bw") && HAS("avx512dq") && HAS("avx512vl") &&
                        HAS("avx512vbmi2") && HAS("avx512vpopcntdq") && HAS("avx512vnni");
#undef HAS
    if (avx2 && avx512) found.push_back(kernels_avx512vnni());
    if (avx2) found.push_back(kernels_avx2());
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
    throw std::invalid_argument("instruction set '" + isa +
                                "' is not available here; there are: " + names);
}

}  // namespace lmht
