#include "engine.hpp"

#include <utility>

namespace lmht {

Engine::Engine(std::shared_ptr<const Model> model, int threads)
    : executor_(std::move(model), threads) {}

void Engine::run(const int32_t* windows, int batch, const RunOutputs& outputs) {
    std::lock_guard lock(mutex_);
    const size_t values = model().tensors[0].values();
    for (int window = 0; window < batch; ++window, windows += values)
        executor_.run_window(outputs, window, [&](size_t index, int64_t* logits) {
            executor_.run_layer(index, windows, logits);
        });
}

}  // namespace lmht
