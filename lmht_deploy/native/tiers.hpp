// Tiers: one implementation of a core's kernels for each instruction set that pays off. The best
// one that the CPU runs is chosen when a model is built. All tiers compute the same integers.
//
//   tier         engine   netx   CPUs
//   generic      yes      yes    any; what the compiler makes of plain C++ for its baseline
//   avx2         yes      yes    Intel Haswell (2013) and AMD Zen (2017), and later ones
//   avxvnni      yes             Intel Alder Lake (2021) and AMD Zen 5 (2024), and later ones
//   avx512                yes    Intel Skylake-X (2017) and AMD Zen 4 (2022), and later ones
//   avx512vnni   yes             Intel Ice Lake (2019) and AMD Zen 4 (2022), and later ones
//   amx          yes             Intel Sapphire Rapids (2023) and later ones, on Linux
//   neon         yes             all AArch64 processors, such as Cortex-A53 and A72
//   dotprod      yes             Arm Cortex-A55 and A75 (2017), A76, Apple M1, and later ones
//   i8mm         yes             Arm Neoverse V1 (2020), Cortex-A510 and A710 (2021), Apple M2
//   (2022)
//
// How a tier comes to run:
//
//   tiers.def --- tiers.cmake ---> -mavx2 -mbmi ...    flags of the tier's one translation unit
//       |  \----- compiled_tier.hpp                    checks there that the compiler agrees
//       v
//   cpu_runs(isa)                                      asks the CPU for the same features, and
//       |                                              the system for the use of tiles;
//       |                                              on AArch64 the system for the features
//       |
//   Tiers<Kernels>   the tiers of one core that the CPU runs, the best first
//       |
//   choose(isa)      the first of them that is not above `isa`; by default not above what the
//                    environment variable LMHT_ISA names; else the first
//
// `isa` is an upper limit, so that one variable serves cores with different tiers: with
// LMHT_ISA=avx512 the engine runs its tier avx2.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "native/isa.hpp"

namespace lmht {

bool cpu_runs(Isa isa);

// The instruction set called `name`, or by LMHT_ISA where `name` is empty; the highest one where
// that is not set either. Throws std::invalid_argument for one that this CPU does not run.
Isa highest_allowed(const std::string& name);

// `Kernels` is a core's table of functions, with the name of its tier.
template <class Kernels>
class Tiers {
public:
    struct Tier {
        Isa isa;
        const Kernels* (*kernels)();
    };

    Tiers(std::initializer_list<Tier> best_first) {
        for (const Tier& tier : best_first)
            if (cpu_runs(tier.isa)) available_.push_back(tier);
    }

    std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (const Tier& tier : available_) names.push_back(tier.kernels()->name);
        return names;
    }

    const Kernels* choose(const std::string& isa) const {
        const Isa limit = highest_allowed(isa);
        size_t i = 0;
        while (available_[i].isa > limit) ++i;  // the last one is generic
        return available_[i].kernels();
    }

private:
    std::vector<Tier> available_;
};

}  // namespace lmht
