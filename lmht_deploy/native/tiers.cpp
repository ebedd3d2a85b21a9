#include "native/tiers.hpp"

#include <cstdlib>
#include <stdexcept>

namespace lmht {
namespace {

struct Named {
    Isa isa;
    const char* name;
};
constexpr Named ISAS[] = {{Isa::avx512vnni, "avx512vnni"},
                          {Isa::avx512, "avx512"},
                          {Isa::avx2, "avx2"},
                          {Isa::generic, "generic"}};

}  // namespace

bool cpu_runs(Isa isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#define FEATURE(name, tier, macro) \
    if (Isa::tier <= isa && !__builtin_cpu_supports(#name)) return false;
#include "native/tiers.def"
#undef FEATURE
    return true;
#else
    return isa == Isa::generic;
#endif
}

Isa highest_allowed(const std::string& name) {
    const char* variable = std::getenv("LMHT_ISA");
    const std::string wanted = name.empty() && variable ? variable : name;
    if (wanted.empty()) return ISAS[0].isa;
    std::string names;
    for (const Named& one : ISAS) {
        if (!cpu_runs(one.isa)) continue;
        if (wanted == one.name) return one.isa;
        names += (names.empty() ? "" : ", ") + std::string(one.name);
    }
    throw std::invalid_argument("instruction set '" + wanted +
                                "' is not available; this CPU runs: " + names);
}

}  // namespace lmht
