// Compiled once with the flags of each tier, see CMakeLists.txt.
#include "tier_probe.hpp"

#include "native/isa.hpp"

#define TEXT(macro) #macro
#define JOIN(a, b) a##b
#define NAME(prefix, tier) JOIN(prefix, tier)
#define FEATURE(name, tier, macro) \
    {#name, LMHT_NEEDS(lmht::Isa::LMHT_TIER, lmht::Isa::tier), sizeof(TEXT(macro)) == sizeof("1")},
#define ARM_FEATURE FEATURE

const Probe NAME(probe_, LMHT_TIER)[] = {
#include "native/tiers.def"
    {nullptr, false, false}};
