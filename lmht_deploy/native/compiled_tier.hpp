// Included by each translation unit of a tier: refuses to compile it without the features that
// `tiers.def` lists for it. The build defines LMHT_TIER, see tiers.cmake. Without functions, as
// code of one tier must not be linked into another.
#pragma once
#include "native/isa.hpp"

// An undefined macro is its own name, a defined one is 1.
#define LMHT_TEXT(macro) #macro
#define FEATURE(name, tier, macro)                                      \
    static_assert(!LMHT_NEEDS(lmht::Isa::LMHT_TIER, lmht::Isa::tier) || \
                      sizeof(LMHT_TEXT(macro)) == sizeof("1"),          \
                  "the tier needs the compiler flag of " #name);
#define ARM_FEATURE FEATURE
#include "native/tiers.def"
