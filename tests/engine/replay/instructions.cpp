// Work to count instructions of: one 3 x 3 convolution, 64 to 512 channels, 24 x 24 pixels, T = 4,
// of binary inputs. `instructions TIER list|dense PERMILLE`, where PERMILLE of the inputs are
// active; prints the SOPs and the dense MACs (those of the padding included) of the window that it
// runs.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "engine/core/engine.hpp"

namespace {

constexpr int CHANNELS = 64, OUT = 512, SIZE = 24, STEPS = 4;
constexpr int INPUTS = STEPS * CHANNELS * SIZE * SIZE;

lmht::SynapseSpec synapse(int source, const std::vector<int8_t>& weight, int channels, int kernel) {
    const int padding = kernel / 2;
    return {
        source, weight.data(), channels, {kernel, kernel}, {1, 1}, {padding, padding}, {1, 1}, 1,
        0,      true};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const int permille = std::atoi(argv[3]);
    const bool dense = std::string(argv[2]) == "dense";
    const auto model = std::make_shared<lmht::Model>(
        lmht::choose_kernels(argv[1]), dense ? lmht::PathPolicy::Dense : lmht::PathPolicy::List);
    std::mt19937 random(0);
    std::vector<int8_t> weights(OUT * CHANNELS * 9), last(2 * OUT, 1);
    for (int8_t& weight : weights) weight = int8_t(random() % 255 - 127);
    const std::vector<int32_t> zero(OUT), never(OUT, 1 << 20);
    std::vector<int32_t> identity(STEPS * STEPS);
    for (int t = 0; t < STEPS; ++t) identity[t * STEPS + t] = 1;
    model->add_input(CHANNELS, SIZE, SIZE, STEPS, 0, 1);
    model->add_neurons(
        {synapse(0, weights, OUT, 3)},
        {zero.data(), never.data(), zero.data(), identity.data(), STEPS, 1, 1, lmht::LEAK_ONE});
    model->add_pool(1, {SIZE, SIZE}, {SIZE, SIZE}, {0, 0}, true);
    model->add_flatten(2);
    model->add_readout({synapse(3, last, 2, 1)}, zero.data(), 2, false);
    lmht::Engine engine(model, 1);
    std::vector<int32_t> window(INPUTS);
    for (int32_t& k : window) k = int(random() % 1000) < permille;
    std::vector<int64_t> logits(2 * STEPS), spikes(1), events(1), sops(2), event_sops(2);
    engine.run(
        window.data(), 1,
        {logits.data(), spikes.data(), events.data(), sops.data(), event_sops.data(), {}, nullptr});
    std::printf("%lld %lld\n", static_cast<long long>(sops[0]),
                static_cast<long long>(INPUTS) * OUT * 9);
}
