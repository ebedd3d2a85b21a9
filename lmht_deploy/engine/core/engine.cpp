#include "engine.hpp"

#include <algorithm>
#include <utility>

namespace lmht {

Engine::Engine(std::shared_ptr<const Model> model, int threads)
    : model_(std::move(model)), executor_(model_, threads) {}

size_t Engine::buffer_bytes() const {
    size_t bytes = memory_plan().bytes;
    for (const auto& group : groups_) bytes += group->bytes();
    return bytes;
}

// Threads that run windows of their own need not wait for each other after every layer. The windows
// that are left over are too few for all threads, which share the rows of these.
void Engine::run(const int32_t* windows, int batch, const RunOutputs& outputs) {
    std::lock_guard lock(mutex_);
    const Batch all{windows, model().tensors[0].values(), outputs};
    const int in_groups =
        batch == 1 || outputs.profile ? 0 : batch - batch % executor_.pool().threads();
    if (in_groups) run_groups(all, in_groups);
    for (int window = in_groups; window < batch; ++window)
        executor_.run_window(outputs, window, [&](size_t index, int64_t* logits) {
            executor_.run_layer(index, all.window(window), logits);
        });
}

void Engine::run_groups(const Batch& batch, int windows) {
    const int threads = executor_.pool().threads();
    while (int(groups_.size()) < threads) groups_.push_back(std::make_unique<WindowGroup>(model_));
    const int rounds = (windows / threads + groups_[0]->size() - 1) / groups_[0]->size();
    const int groups = rounds * threads;  // as many for each thread, and of nearly the same size
    executor_.pool().run(groups, [&](int group, int thread) {
        const int first = int(int64_t(windows) * group / groups),
                  end = int(int64_t(windows) * (group + 1) / groups);
        groups_[thread]->run(batch, first, end - first);
    });
}

}  // namespace lmht
