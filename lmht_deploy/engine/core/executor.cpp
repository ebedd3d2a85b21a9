#include "executor.hpp"

#include <utility>

#include "encoder.hpp"

namespace lmht {
namespace {

std::vector<Activation> activations_in(const MemoryPlan& plan, unsigned char* memory) {
    std::vector<Activation> activations;
    for (size_t i = 0; i < plan.tensors.size(); ++i)
        activations.push_back(plan.tensors[i].in(memory + plan.buffers[i].offset));
    return activations;
}

}  // namespace

Executor::Executor(std::shared_ptr<const Model> model, int threads)
    : model_(std::move(model)),
      plan_(*model_, threads),
      memory_(aligned(plan_.bytes)),
      activations_(activations_in(plan_, memory_.get())),
      pool_(threads),
      synaptic_(*model_, plan_, memory_.get(), activations_, pool_) {}

void Executor::run_layer(size_t index, const int32_t* window, int64_t* logits) {
    const Layer& layer = model_->layers[index];
    if (layer.pool)
        run_pool(*layer.pool);
    else if (layer.flatten)
        run_flatten(*layer.flatten);
    else if (!layer.synaptic)
        encode_window(window);
    else if (layer.synaptic->is_readout())
        synaptic_.run_readout(index, logits);
    else
        synaptic_.run_neurons(index);
}

// Encodes [steps][C][H][W] and calls finish(y) for every row.
template <class Finish>
void Executor::encode_rows(const int32_t* counts, const Spikes& spikes, Finish finish) {
    const bool packed = spikes.format == Format::Packed;
    if (!packed) encode(counts, spikes);
    pool_.run(spikes.height, [&](int y, int) {
        if (packed) encode_packed_row(counts, spikes, y);
        finish(y);
    });
}

void Executor::encode_window(const int32_t* window) {
    encode_rows(window, activations_[0].view(View::Steps), [&](int y) { finish(0, y); });
}

Spikes Executor::encode_step(const int32_t* counts, int step, const Tally& tally) {
    const Spikes spikes = one_step(activations_[0].view(View::Steps), step);
    encode_rows(counts, spikes, [&](int y) { model_->kernels->tally(spikes, spikes, tally, y); });
    return spikes;
}

void Executor::finish_input() {
    pool_.run(model_->tensors[0].height, [&](int y, int) { finish(0, y); });
}

void Executor::run_pool(const Pool& pool) {
    const Spikes& in = activations_[pool.source].view(View::Steps);
    const Activation& activation = activations_[pool.out];
    const Spikes& out = activation.view(View::Steps);
    const bool writes_window = model_->tensors[pool.out].writes_window;
    pool_.run(out.height, [&](int y, int) {
        const int64_t active = model_->kernels->pool(
            {.in = &in,
             .out = &out,
             .window = writes_window ? &activation.view(View::Window) : nullptr,
             .kernel_y = pool.kernel.y,
             .kernel_x = pool.kernel.x,
             .stride_x = pool.stride.x,
             .padding_x = pool.padding.x,
             .first_row = y * pool.stride.y - pool.padding.y,
             .y = y,
             .max = pool.max});
        if (writes_window) activation.tally.row_active[int(View::Window)][y] = active;
        finish(pool.out, y);
    });
}

void Executor::run_flatten(const Flatten& layer) {
    const Activation &in = activations_[layer.source], &out = activations_[layer.out];
    const bool writes_window = model_->tensors[layer.out].writes_window;
    const View view = writes_window ? View::Window : View::Steps;
    flatten(in.view(view), out.view(view));
    if (!writes_window) return finish(layer.out, 0);
    finish_window_row(*model_->kernels, out, 0);
    out.tally.events[0] = out.tally.row_events[0] =  // of single steps
        count_spikes(model_->tensors[layer.source], in.tally).events;
}

void Executor::finish(int tensor, int y) {
    finish_row(*model_->kernels, model_->tensors[tensor], activations_[tensor], y);
}

}  // namespace lmht
