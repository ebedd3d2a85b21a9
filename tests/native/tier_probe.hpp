#pragma once

// One feature of tiers.def, in a translation unit with the flags of a tier.
struct Probe {
    const char* name;  // null after the last one
    bool needed;       // by the tier, according to tiers.def
    bool compiled;     // the compiler has it
};

extern const Probe probe_avx2[], probe_avxvnni[], probe_avx512[], probe_avx512vnni[], probe_amx[];
