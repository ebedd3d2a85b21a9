// Runs windows through a model.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "executor.hpp"

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
    struct Batch {
        const int32_t* windows;
        size_t values;  // of a window
        const RunOutputs& outputs;
    };
    static void run_window(Executor& executor, const Batch& batch, int window);
    void make_lanes(int threads);

    std::mutex mutex_;
    std::shared_ptr<const Model> model_;
    Executor executor_;  // whose threads share the rows of a window
    // Each runs windows on one thread. They are made for the first batch that has a window for
    // every thread.
    std::vector<std::unique_ptr<Executor>> lanes_;
};

}  // namespace lmht
