// The instruction sets that a tier can be written for, rising: a CPU that runs one runs all lower
// ones of its family, x86-64 up to amx, AArch64 from neon on. The exception is avxvnni, which some
// CPUs with AVX-512 lack. `tiers.def` has the CPU features that each needs.
#pragma once

namespace lmht {

enum class Isa { generic, avx2, avxvnni, avx512, avx512vnni, amx, neon, dotprod, i8mm };

}  // namespace lmht

// Whether a tier needs a feature that `lowest` is the lowest tier to need. A macro, because code of
// one tier must not be linked into another.
#define LMHT_NEEDS(isa, lowest)     \
    ((lowest) == lmht::Isa::avxvnni \
         ? (isa) == (lowest)        \
         : (lowest) <= (isa) && LMHT_IS_ARM(lowest) == LMHT_IS_ARM(isa))
#define LMHT_IS_ARM(isa) ((isa) >= lmht::Isa::neon)
