#include "window_group.hpp"

#include <algorithm>

namespace lmht {
namespace {

// Whose activations stay in a core's cache beside a slice of the weights, if they have one block.
constexpr int WINDOWS = 6;

}  // namespace

WindowGroup::WindowGroup(std::shared_ptr<const Model> model) {
    lanes_.push_back(std::make_unique<Executor>(model, 1));
    int blocks = 0;  // of the layers that stream weights, at most
    for (size_t i = 0; i < model->layers.size(); ++i)
        if (lanes_[0]->synaptic().streams_weights(i))
            blocks = std::max(blocks, model->layers[i].synaptic->blocks);
    while (blocks && size() < WINDOWS / blocks)
        lanes_.push_back(std::make_unique<Executor>(model, 1));
    for (const auto& lane : lanes_) runners_.push_back(&lane->synaptic());
    runners_.front()->reserve_tiles(lanes_.size());
    outputs_.reserve(lanes_.size());
}

void WindowGroup::run(const Batch& batch, int first, int n) {
    const Model& model = lanes_[0]->model();
    const size_t layers = model.layers.size();
    const auto streams = [&](size_t i) {
        return n > 1 && lanes_[0]->synaptic().streams_weights(i);
    };
    outputs_.clear();
    for (int i = 0; i < n; ++i) {
        outputs_.emplace_back(model, batch.outputs, first + i);
        lanes_[i]->synaptic().trace(!batch.outputs.traces.empty());
    }
    for (size_t index = 0, end; index < layers; index = end) {
        end = index + 1;
        if (streams(index)) {
            run_side_by_side(index);
            continue;
        }
        while (end < layers && !streams(end)) ++end;
        run_in_turn(batch, first, index, end);
    }
}

void WindowGroup::run_side_by_side(size_t index) {
    const size_t n = outputs_.size();
    SynapticRunner::run_together({runners_.data(), n}, index);
    for (size_t i = 0; i < n; ++i)
        outputs_[i].record(lanes_[i]->model().layers[index], lanes_[i]->activations());
}

void WindowGroup::run_in_turn(const Batch& batch, int first, size_t layer, size_t end) {
    for (size_t i = 0; i < outputs_.size(); ++i)
        for (size_t index = layer; index < end; ++index) {
            lanes_[i]->run_layer(index, batch.window(first + int(i)), outputs_[i].logits());
            outputs_[i].record(lanes_[i]->model().layers[index], lanes_[i]->activations());
        }
}

}  // namespace lmht
