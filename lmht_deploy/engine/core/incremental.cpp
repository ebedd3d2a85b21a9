#include "incremental.hpp"

#include <utility>
#include <vector>

namespace lmht {
namespace {

constexpr size_t FIRST = 1;  // layer 0 is the input

int readers_of_input(const Model& model) {
    int readers = 0;
    for (const Layer& layer : model.layers) {
        readers += layer.pool && layer.pool->source == 0;
        readers += layer.flatten && layer.flatten->source == 0;
        if (layer.synaptic)
            for (const Synapse& synapse : layer.synaptic->synapses) readers += synapse.source == 0;
    }
    return readers;
}

}  // namespace

bool IncrementalEngine::supports(const Model& model) {
    if (readers_of_input(model) != 1 || model.layers.size() <= FIRST) return false;
    const auto& first = model.layers[FIRST].synaptic;
    if (!first || first->is_readout() || first->synapses.size() != 1) return false;
    const Synapse& synapse = first->synapses[0];
    return synapse.source == 0 && !synapse.channelwise() &&
           (synapse.view == View::Steps || synapse.view == View::Compact);
}

IncrementalEngine::IncrementalEngine(std::shared_ptr<const Model> model, int threads)
    : executor_(std::move(model), threads),
      ring_(*this->model().layers[FIRST].synaptic, this->model().tensors[0]) {
    const Tensor& input = this->model().tensors[0];
    const std::vector<int32_t> silence(input.values() / input.steps);
    for (int slot = 0; slot < ring_.slots(); ++slot) put(slot, silence.data());
}

void IncrementalEngine::put(int slot, const int32_t* counts) {
    std::lock_guard lock(mutex_);
    const Spikes step = executor_.encode_step(counts, slot, ring_.tally());
    const Source source{.spikes = step,
                        .tally = ring_.tally(),
                        .view = View::Steps,
                        .steps_per_block = 1,
                        .max_count = model().tensors[0].max_count(View::Steps)};
    executor_.synaptic().run_step(FIRST, source, ring_, slot);
}

void IncrementalEngine::run(int oldest, const RunOutputs& outputs) {
    std::lock_guard lock(mutex_);
    executor_.run_window(outputs, 0, [&](size_t index, int64_t* logits) {
        if (index == 0)
            executor_.finish_input();
        else if (index == FIRST)
            executor_.synaptic().fire_steps(FIRST, ring_, oldest);
        else
            executor_.run_layer(index, nullptr, logits);
    });
}

}  // namespace lmht
