// The instruction sets that a tier can be written for, rising: a CPU that runs one runs all lower
// ones. `tiers.def` has the CPU features that each needs.
#pragma once

namespace lmht {

enum class Isa { generic, avx2, avx512, avx512vnni, amx };

}  // namespace lmht
