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
#elif defined(__aarch64__)
        {Isa::i8mm, kernels_i8mm},
        {Isa::dotprod, kernels_dotprod},
        {Isa::neon, kernels_neon},
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
