// Memory of incremental inference: the first layer's currents of each time-step of a window.
#pragma once
#include <vector>

#include "activation.hpp"
#include "native/aligned.hpp"

namespace lmht {

// A ring of T_in slots, one per time-step, [H][slices][slots][W][64]. A window begins at any slot:
//
//     slot        0   1   2   3        T_in = 4; the last step was put into slot 1
//     step        t-1 t   t-3 t-2
//                 ^       ^ oldest = 2: the window is slots 2, 3, 0, 1
class StepRing {
public:
    // `layer` reads each step of `input` by one synapse, with a current per step.
    StepRing(const SynapticLayer& layer, const Tensor& input);

    int slots() const { return slots_; }
    size_t bytes() const { return bytes_; }

    // Currents [W][64] of one output row and slice.
    int32_t* currents(int slot, int y, int slice) const;
    // The T-GIM of the window whose oldest step is in slot `oldest`, for a kernel whose pixels are
    // 64 currents apart: blocks count pixels from `currents(0, y, slice)`.
    const Term* terms(int oldest);
    // Scratch for the tally of one step.
    const Tally& tally() const { return tally_; }

private:
    int slots_, slices_, width_;
    size_t bytes_;
    Aligned<uint8_t> currents_;
    std::vector<Term> layer_terms_, terms_;
    std::vector<int64_t> tally_memory_;
    Tally tally_;
};

}  // namespace lmht
