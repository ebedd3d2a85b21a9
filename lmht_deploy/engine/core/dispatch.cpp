#include "model.hpp"
#include "native/tiers.hpp"

namespace lmht {
namespace {

const Tiers<Kernels>& tiers() {
    static const Tiers<Kernels> tiers{
#if defined(__x86_64__)
        {Isa::amx, kernels_amx},
        {Isa::avx512vnni, kernels_avx512vnni},
        {Isa::avxvnni, kernels_avxvnni},
        {Isa::avx2, kernels_avx2},
#endif
        {Isa::generic, kernels_generic}};
    return tiers;
}

}  // namespace

std::vector<std::string> available_isas() {
    return tiers().names();
}

const Kernels* choose_kernels(const std::string& isa) {
    return tiers().choose(isa);
}

}  // namespace lmht
