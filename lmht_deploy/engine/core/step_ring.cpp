#include "step_ring.hpp"

#include <algorithm>

namespace lmht {

StepRing::StepRing(const SynapticLayer& layer, const Tensor& input)
    : slots_(layer.blocks),
      slices_(layer.words()),
      width_(layer.width),
      bytes_(size_t(layer.height) * slices_ * layer.currents_of_a_row() * sizeof(int32_t)),
      currents_(aligned(bytes_)),
      layer_terms_(layer.terms),
      terms_(layer.terms) {
    const size_t height = input.height, pixels = height * input.width;
    tally_memory_.resize(2 * pixels + 3 * height);
    int64_t* const at = tally_memory_.data();
    tally_.columns = input.counted_columns.data();
    tally_.n_columns = int(input.counted_columns.size());
    tally_.events = at;
    tally_.spikes = input.format(View::Steps) == Format::Binary ? at : at + pixels;
    tally_.row_events = at + 2 * pixels;
    std::fill_n(tally_.row_active, VIEWS, tally_.row_events);
    tally_.row_spikes = tally_.row_events + height;
    tally_.row_active_steps = reinterpret_cast<uint64_t*>(tally_.row_spikes + height);
}

int32_t* StepRing::currents(int slot, int y, int slice) const {
    const size_t row = (size_t(y) * slices_ + slice) * slots_ + slot;
    return reinterpret_cast<int32_t*>(currents_.get()) + row * width_ * LANES;
}

const Term* StepRing::terms(int oldest) {
    for (size_t i = 0; i < terms_.size(); ++i)
        terms_[i].block = (layer_terms_[i].block + oldest) % slots_ * width_;
    return terms_.data();
}

}  // namespace lmht
