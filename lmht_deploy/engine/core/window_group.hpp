// Windows of a batch that one thread runs side by side.
#pragma once
#include <memory>
#include <vector>

#include "executor.hpp"

namespace lmht {

// The windows of a batch and where their integers go.
struct Batch {
    const int32_t* windows;
    size_t values;  // of a window
    const RunOutputs& outputs;

    const int32_t* window(int index) const { return windows + index * values; }
};

// Layers whose weights do not fit the cache run slice by slice: each slice of the weights is read
// once for all windows. The layers between them run window by window.
class WindowGroup {
public:
    explicit WindowGroup(std::shared_ptr<const Model> model);

    int size() const { return int(lanes_.size()); }
    size_t bytes() const { return lanes_.size() * lanes_[0]->plan().bytes; }

    // Runs windows first, first + 1, ... of the batch, at most `size()`.
    void run(const Batch& batch, int first, int n);

private:
    void run_side_by_side(size_t index);
    void run_in_turn(const Batch& batch, int first, size_t layer, size_t end);

    std::vector<std::unique_ptr<Executor>> lanes_;  // one per window
    std::vector<SynapticRunner*> runners_;          // theirs
    std::vector<WindowOutputs> outputs_;            // of the windows that run now
};

}  // namespace lmht
