// The integers of a run, in arrays that grow as they are needed.
#pragma once
#include <vector>

#include "engine/core/outputs.hpp"

namespace lmht::library {

class Outcome {
public:
    // Room for `windows` windows of a model; the numbers of other runs are lost.
    RunOutputs prepare(const Model& model, size_t windows, bool trace);

    // Adds the numbers of a run of as many windows of the same model. The first one makes the sum.
    void add(const Outcome& other);

    size_t windows() const { return windows_; }
    const int64_t* logits(size_t window = 0) const { return logits_.data() + window * classes_; }
    size_t classes() const { return classes_; }
    const int64_t* spikes() const { return spikes_.data(); }
    const int64_t* events() const { return events_.data(); }
    const int64_t* sops() const { return sops_.data(); }
    const int64_t* event_sops() const { return event_sops_.data(); }
    // Null without traces.
    const int32_t* trace(size_t neurons) const {
        return neurons < traces_.size() ? traces_[neurons].data() : nullptr;
    }
    int64_t total_spikes() const;
    int64_t total_sops() const;

    double seconds = 0;

private:
    size_t windows_ = 0, classes_ = 0;
    std::vector<int64_t> logits_, spikes_, events_, sops_, event_sops_;
    std::vector<std::vector<int32_t>> traces_;  // by layer of neurons
};

}  // namespace lmht::library
