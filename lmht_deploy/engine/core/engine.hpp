// Runs windows through a model.
#pragma once
#include <memory>
#include <mutex>

#include "executor.hpp"

namespace lmht {

class Engine {
public:
    Engine(std::shared_ptr<const Model> model, int threads);

    const Model& model() const { return executor_.model(); }
    const MemoryPlan& memory_plan() const { return executor_.plan(); }
    size_t buffer_bytes() const { return memory_plan().bytes; }

    // windows: [B][steps][C][H][W], within the range of the model's input. A second caller waits.
    void run(const int32_t* windows, int batch, const RunOutputs& outputs);

private:
    std::mutex mutex_;
    Executor executor_;
};

}  // namespace lmht
