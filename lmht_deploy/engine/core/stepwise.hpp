// Runs a model again and again, each time from the potentials that the run before it left. A model
// of one time-step is run step by step so.
#pragma once
#include <memory>
#include <mutex>

#include "executor.hpp"

namespace lmht {

class StepwiseEngine {
public:
    StepwiseEngine(std::shared_ptr<const Model> model, int threads);

    const Model& model() const { return executor_.model(); }
    size_t buffer_bytes() const { return executor_.plan().bytes + potentials_.bytes(); }

    // counts: [steps][C][H][W], within the range of the model's input. The first step of a window
    // begins with v0; the last one need not keep potentials. A second caller waits.
    void step(const int32_t* counts, bool first, bool last, const RunOutputs& outputs);

private:
    std::mutex mutex_;
    Executor executor_;
    Potentials potentials_;
};

}  // namespace lmht
