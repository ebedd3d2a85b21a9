#include "stepwise.hpp"

#include <utility>

namespace lmht {

StepwiseEngine::StepwiseEngine(std::shared_ptr<const Model> model, int threads)
    : executor_(std::move(model), threads), potentials_(this->model()) {
    executor_.synaptic().keep(&potentials_);
}

void StepwiseEngine::step(const int32_t* counts, bool first, bool last, const RunOutputs& outputs) {
    std::lock_guard lock(mutex_);
    potentials_.begin(first, last);
    executor_.run_window(outputs, 0, [&](size_t index, int64_t* logits) {
        executor_.run_layer(index, counts, logits);
    });
}

}  // namespace lmht
