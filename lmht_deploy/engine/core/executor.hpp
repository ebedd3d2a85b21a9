// Runs the layers of one window, one by one. Owns the memory and the threads.
#pragma once
#include <chrono>
#include <memory>
#include <vector>

#include "outputs.hpp"
#include "synaptic_runner.hpp"

namespace lmht {

class Executor {
public:
    Executor(std::shared_ptr<const Model> model, int threads);
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;

    const Model& model() const { return *model_; }
    const MemoryPlan& plan() const { return plan_; }
    const std::vector<Activation>& activations() const { return activations_; }
    const Activation& activation(int tensor) const { return activations_[tensor]; }
    SynapticRunner& synaptic() { return synaptic_; }
    ThreadPool& pool() { return pool_; }

    // Runs layer `index`: `window` [steps][C][H][W] is what the input layer encodes, `logits`
    // [classes] what the read-out writes.
    void run_layer(size_t index, const int32_t* window, int64_t* logits);
    // Runs all layers, each by run(index, logits), and records the integers of window `window`.
    template <class Run>
    void run_window(const RunOutputs& outputs, int window, Run run);

    // Writes one step of the input, counts [C][H][W], and its tally. Returns the step.
    Spikes encode_step(const int32_t* counts, int step, const Tally& tally);
    // Completes the input where its steps are already there.
    void finish_input();

private:
    template <class Finish>
    void encode_rows(const int32_t* counts, const Spikes& spikes, Finish finish);
    void encode_window(const int32_t* window);
    void run_pool(const Pool& pool);
    void run_flatten(const Flatten& layer);
    void finish(int tensor, int y);

    std::shared_ptr<const Model> model_;
    MemoryPlan plan_;
    Aligned<uint8_t> memory_;
    std::vector<Activation> activations_;  // by tensor
    ThreadPool pool_;
    SynapticRunner synaptic_;
};

template <class Run>
void Executor::run_window(const RunOutputs& outputs, int window, Run run) {
    using Clock = std::chrono::steady_clock;
    WindowOutputs to(*model_, outputs, window);
    synaptic_.trace(!outputs.traces.empty());
    int64_t earlier[PATHS] = {};  // rows of runs without a profile
    if (outputs.profile) synaptic_.take_rows(earlier);
    for (size_t index = 0; index < model_->layers.size(); ++index) {
        const Clock::time_point start = outputs.profile ? Clock::now() : Clock::time_point();
        run(index, to.logits());
        if (outputs.profile) {
            outputs.profile[index].nanoseconds += (Clock::now() - start).count();
            synaptic_.take_rows(outputs.profile[index].rows);
        }
        to.record(model_->layers[index], activations_);
    }
}

}  // namespace lmht
