// The potentials of all neurons, kept from one time-step of a window to the next.
#pragma once
#include <vector>

#include "model.hpp"
#include "native/aligned.hpp"

namespace lmht {

class Potentials {
public:
    explicit Potentials(const Model& model);

    size_t bytes() const { return bytes_; }
    // What the next run is: the first one begins with v0, and what the last one leaves is not kept.
    void begin(bool first, bool last) {
        first_run_ = first;
        last_run_ = last;
    }
    // Sets where v of one output row of layer `index` and one slice comes from and goes to.
    void connect(NeuronRow& row, size_t index, int y, int slice) const;

private:
    int32_t* at(size_t index, int y, int slice) const;

    const Model& model_;
    std::vector<size_t> first_;  // of each layer, [H][slices][W][64]
    size_t bytes_;
    Aligned<uint8_t> memory_;
    bool first_run_ = true, last_run_ = false;
};

}  // namespace lmht
