// Runs windows through a model.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "window_group.hpp"

namespace lmht {

class Engine {
public:
    Engine(std::shared_ptr<const Model> model, int threads);

    const Model& model() const { return *model_; }
    const MemoryPlan& memory_plan() const { return executor_.plan(); }
    size_t buffer_bytes() const;

    // windows: [B][steps][C][H][W], within the range of the model's input. A second caller waits.
    void run(const int32_t* windows, int batch, const RunOutputs& outputs);

private:
    void run_groups(const Batch& batch, int windows);

    std::mutex mutex_;
    std::shared_ptr<const Model> model_;
    Executor executor_;  // whose threads share the rows of a window
    // One per thread. They are made for the first batch that has a window for every thread, and
    // more than one.
    std::vector<std::unique_ptr<WindowGroup>> groups_;
};

}  // namespace lmht
