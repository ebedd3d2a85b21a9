#include <cstdlib>

#include "check.hpp"
#include "native/tiers.hpp"
#include "tier_probe.hpp"

using namespace lmht;

namespace {

struct Kernels {
    const char* name;
};
template <Isa isa>
const Kernels* kernels() {
    static const Kernels table{isa == Isa::generic  ? "generic"
                               : isa == Isa::avx2   ? "avx2"
                               : isa == Isa::avx512 ? "avx512"
                                                    : "avx512vnni"};
    return &table;
}

// A tier needs the features that its name and all names below it stand for, except those of
// avxvnni.
static_assert(LMHT_NEEDS(Isa::avxvnni, Isa::avxvnni) && LMHT_NEEDS(Isa::avxvnni, Isa::avx2));
static_assert(!LMHT_NEEDS(Isa::avx512, Isa::avxvnni) && LMHT_NEEDS(Isa::amx, Isa::avx512));

// Sets LMHT_ISA, or removes it (null), until the end of the test.
struct Variable {
    explicit Variable(const char* value) {
        value ? setenv("LMHT_ISA", value, 1) : unsetenv("LMHT_ISA");
    }
    ~Variable() { unsetenv("LMHT_ISA"); }
};

const Tiers<Kernels>& with_generic_and_avx2() {
    static const Tiers<Kernels> tiers{{Isa::avx2, kernels<Isa::avx2>},
                                      {Isa::generic, kernels<Isa::generic>}};
    return tiers;
}

}  // namespace

TEST(every_cpu_runs_generic_and_all_below_what_it_runs) {
    CHECK(cpu_runs(Isa::generic));
    CHECK(!cpu_runs(Isa::avx512) || cpu_runs(Isa::avx2));
    CHECK(!cpu_runs(Isa::avx512vnni) || cpu_runs(Isa::avx512));
    CHECK(!cpu_runs(Isa::avxvnni) || cpu_runs(Isa::avx2));
    CHECK(!cpu_runs(Isa::amx) || cpu_runs(Isa::avx512vnni));
}

TEST(the_first_tier_that_the_cpu_runs_is_chosen) {
    const Variable none(nullptr);
    const std::string best = cpu_runs(Isa::avx2) ? "avx2" : "generic";
    CHECK_EQUAL(with_generic_and_avx2().names().front(), best);
    CHECK_EQUAL(with_generic_and_avx2().names().back(), std::string("generic"));
    CHECK_EQUAL(with_generic_and_avx2().choose("")->name, best);
}

TEST(a_name_is_an_upper_limit) {
    const Variable none(nullptr);
    CHECK_EQUAL(with_generic_and_avx2().choose("generic")->name, std::string("generic"));
    if (cpu_runs(Isa::avx512))
        CHECK_EQUAL(with_generic_and_avx2().choose("avx512")->name, std::string("avx2"));
}

TEST(the_variable_counts_where_no_name_is_given) {
    const Variable generic("generic");
    CHECK_EQUAL(with_generic_and_avx2().choose("")->name, std::string("generic"));
    if (cpu_runs(Isa::avx2))
        CHECK_EQUAL(with_generic_and_avx2().choose("avx2")->name, std::string("avx2"));
}

TEST(an_empty_variable_is_none) {
    const Variable empty("");
    CHECK_EQUAL(with_generic_and_avx2().choose("")->name, with_generic_and_avx2().names().front());
}

TEST(an_unknown_name_is_an_error_that_lists_what_there_is) {
    CHECK_THROWS(with_generic_and_avx2().choose("mmx"), std::invalid_argument,
                 "instruction set 'mmx' is not available; this CPU runs: ");
    const Variable unknown("mmx");
    CHECK_THROWS(with_generic_and_avx2().choose(""), std::invalid_argument, "'mmx'");
}

#if defined(__x86_64__)
TEST(the_compiler_has_the_features_that_a_tier_needs_and_no_others) {
    for (const Probe* probe :
         {probe_avx2, probe_avxvnni, probe_avx512, probe_avx512vnni, probe_amx})
        for (; probe->name; ++probe)
            if (probe->compiled != probe->needed) check::fail(__FILE__, __LINE__, probe->name);
}
#endif
