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

    // counts: [steps][C][H][W], within the range of the model's input. A second caller waits.
    void step(const int32_t* counts, const RunOutputs& outputs);
    // The next step begins with v0.
    void reset();

private:
    std::mutex mutex_;
    Executor executor_;
    Potentials potentials_;
};

}  // namespace lmht
