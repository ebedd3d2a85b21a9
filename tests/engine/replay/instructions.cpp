// Work to count instructions of: one 3 x 3 convolution, 64 to 64 channels, 24 x 24 pixels, T = 4,
// of binary inputs of which 10 % are active. `instructions TIER list|dense WINDOWS`; prints the
// SOPs and the dense MACs of one window (those of the padding included).
#include <cstdio>
#include <cstdlib>
#include <random>

#include "engine/core/engine.hpp"

namespace {

constexpr int CHANNELS = 64, SIZE = 24, STEPS = 4, INPUTS = STEPS * CHANNELS * SIZE * SIZE;

lmht::SynapseSpec synapse(int source, const std::vector<int8_t>& weight, int kernel) {
    const int padding = kernel / 2;
    return {source,
            weight.data(),
            int(weight.size()) / (CHANNELS * kernel * kernel) == CHANNELS ? CHANNELS : 2,
            {kernel, kernel},
            {1, 1},
            {padding, padding},
            {1, 1},
            1,
            0,
            true};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const bool dense = std::string(argv[2]) == "dense";
    const auto model = std::make_shared<lmht::Model>(
        lmht::choose_kernels(argv[1]), dense ? lmht::PathPolicy::Dense : lmht::PathPolicy::List);
    std::mt19937 random(0);
    std::vector<int8_t> weights(CHANNELS * CHANNELS * 9), last(2 * CHANNELS * SIZE * SIZE, 1);
    for (int8_t& weight : weights) weight = int8_t(random() % 255 - 127);
    const std::vector<int32_t> zero(CHANNELS), never(CHANNELS, 1 << 20);
    std::vector<int32_t> identity(STEPS * STEPS);
    for (int t = 0; t < STEPS; ++t) identity[t * STEPS + t] = 1;
    model->add_input(CHANNELS, SIZE, SIZE, STEPS, 0, 1);
    model->add_neurons({synapse(0, weights, 3)}, {zero.data(), never.data(), zero.data(),
                                                  identity.data(), STEPS, 1, 1, lmht::LEAK_ONE});
    model->add_flatten(1);
    model->add_readout({synapse(2, last, 1)}, zero.data(), 2, false);
    lmht::Engine engine(model, 1);
    std::vector<int32_t> window(INPUTS);
    for (int32_t& k : window) k = random() % 10 == 0;
    std::vector<int64_t> logits(2 * STEPS), spikes(1), events(1), sops(2), event_sops(2);
    for (int run = std::atoi(argv[3]); run > 0; --run)
        engine.run(window.data(), 1,
                   {logits.data(),
                    spikes.data(),
                    events.data(),
                    sops.data(),
                    event_sops.data(),
                    {},
                    nullptr});
    std::printf("%lld %lld\n", static_cast<long long>(sops[0]),
                static_cast<long long>(INPUTS) * CHANNELS * 9);
}
