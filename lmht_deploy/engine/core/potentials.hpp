// The potentials of all neurons, kept from one run to the next.
#pragma once
#include <vector>

#include "model.hpp"
#include "native/aligned.hpp"

namespace lmht {

class Potentials {
public:
    // All potentials are v0.
    explicit Potentials(const Model& model);

    size_t bytes() const { return bytes_; }
    void reset();  // to v0
    // v of one output row of layer `index` and one slice, [W][64].
    int32_t* row(size_t index, int y, int slice) const;

private:
    const Model& model_;
    std::vector<size_t> first_;  // of each layer, [H][slices][W][64]
    size_t bytes_;
    Aligned<uint8_t> memory_;
};

}  // namespace lmht
