#include "engine.hpp"

#include <utility>

namespace lmht {

Engine::Engine(std::shared_ptr<const Model> model, int threads)
    : model_(std::move(model)), executor_(model_, threads) {}

size_t Engine::buffer_bytes() const {
    size_t bytes = memory_plan().bytes;
    for (const auto& lane : lanes_) bytes += lane->plan().bytes;
    return bytes;
}

// Threads that run windows of their own need not wait for each other after every layer. The windows
// that are left over are too few for all threads, which share the rows of these.
void Engine::run(const int32_t* windows, int batch, const RunOutputs& outputs) {
    std::lock_guard lock(mutex_);
    const Batch all{windows, model().tensors[0].values(), outputs};
    const int threads = executor_.pool().threads();
    const bool rows_only = threads == 1 || outputs.profile;
    const int in_lanes = rows_only ? 0 : batch - batch % threads;
    if (in_lanes) {
        make_lanes(threads);
        executor_.pool().run(
            in_lanes, [&](int window, int thread) { run_window(*lanes_[thread], all, window); });
    }
    for (int window = in_lanes; window < batch; ++window) run_window(executor_, all, window);
}

void Engine::run_window(Executor& executor, const Batch& batch, int window) {
    executor.run_window(batch.outputs, window, [&](size_t index, int64_t* logits) {
        executor.run_layer(index, batch.windows + window * batch.values, logits);
    });
}

void Engine::make_lanes(int threads) {
    while (int(lanes_.size()) < threads) lanes_.push_back(std::make_unique<Executor>(model_, 1));
}

}  // namespace lmht
