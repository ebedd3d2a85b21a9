#include "native/tiers.hpp"

#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace lmht {
namespace {

struct Named {
    Isa isa;
    const char* name;
};
constexpr Named ISAS[] = {{Isa::i8mm, "i8mm"},
                          {Isa::dotprod, "dotprod"},
                          {Isa::neon, "neon"},
                          {Isa::amx, "amx"},
                          {Isa::avx512vnni, "avx512vnni"},
                          {Isa::avx512, "avx512"},
                          {Isa::avxvnni, "avxvnni"},
                          {Isa::avx2, "avx2"},
                          {Isa::generic, "generic"}};

#if defined(__x86_64__)
// Whether the system lets this process use the tiles of AMX. Linux saves their 8 KiB for each
// thread of a process that has asked, and may refuse.
bool request_tiles() {
#if defined(__linux__)
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

bool may_use_tiles() {
    static const bool granted = request_tiles();  // once per process
    return granted;
}
#elif defined(__aarch64__)
struct ArmFeatures {
    bool dotprod = false, i8mm = false;
};

ArmFeatures arm_features() {
#if defined(__linux__)
    constexpr unsigned long ASIMDDP = 1ul << 20, I8MM = 1ul << 13;  // of HWCAP, of HWCAP2
    return {(getauxval(AT_HWCAP) & ASIMDDP) != 0, (getauxval(AT_HWCAP2) & I8MM) != 0};
#elif defined(__APPLE__)
    int i8mm = 0;
    size_t size = sizeof i8mm;
    if (sysctlbyname("hw.optional.arm.FEAT_I8MM", &i8mm, &size, nullptr, 0)) i8mm = 0;
    return {true, i8mm != 0};
#else
    return {};
#endif
}
#endif

}  // namespace

bool cpu_runs(Isa isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#define FEATURE(name, tier, macro) \
    if (LMHT_NEEDS(isa, Isa::tier) && !__builtin_cpu_supports(#name)) return false;
#define ARM_FEATURE(name, tier, macro)
#include "native/tiers.def"
    return !LMHT_IS_ARM(isa) && (isa < Isa::amx || may_use_tiles());
#elif defined(__aarch64__)
    static const ArmFeatures cpu = arm_features();
#define FEATURE(name, tier, macro)
#define ARM_FEATURE(name, tier, macro) \
    if (LMHT_NEEDS(isa, Isa::tier) && !cpu.name) return false;
#include "native/tiers.def"
    return isa == Isa::generic || LMHT_IS_ARM(isa);
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
