// Incremental inference for overlapping windows: the currents of the first layer are computed once
// per time-step and reused by every window that contains the step.
#pragma once
#include <memory>
#include <mutex>

#include "executor.hpp"
#include "step_ring.hpp"

namespace lmht {

class IncrementalEngine {
public:
    // Whether the first layer alone reads the input, by one synapse with a current per step.
    static bool supports(const Model& model);

    // For a model that is supported. All slots of the ring are silent at first.
    IncrementalEngine(std::shared_ptr<const Model> model, int threads);

    const Model& model() const { return executor_.model(); }
    size_t buffer_bytes() const { return executor_.plan().bytes + ring_.bytes(); }

    // Replaces the step in a slot of the ring: counts [C][H][W], within the range of the input.
    void put(int slot, const int32_t* counts);
    // Runs the window whose oldest step is in slot `oldest`.
    void run(int oldest, const RunOutputs& outputs);

private:
    std::mutex mutex_;
    Executor executor_;
    StepRing ring_;
};

}  // namespace lmht
