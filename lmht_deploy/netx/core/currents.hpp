// Synaptic currents that have not arrived yet.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "native/aligned.hpp"
#include "shape.hpp"

namespace lmht::netx {

// A ring with one slot per step, as many as the longest delay needs. `delay` counts from the next
// step: -1 is what arrives now, 0 what arrives at the next step.
class CurrentRing {
public:
    CurrentRing(Shape shape, int slots)
        : size_(shape.padded()),
          rows_(shape.height),
          slots_(slots),
          currents_(slots * size_),
          touched_(size_t(slots) * rows_) {}

    // All currents are 0, of 2 or 4 bytes each.
    void clear(int bytes) {
        bytes_ = bytes;
        std::fill(currents_.begin(), currents_.end(), 0);
        std::fill(touched_.begin(), touched_.end(), 0);
        now_ = 0;
    }
    void advance() { now_ = (now_ + 1) % slots_; }

    int bytes() const { return bytes_; }
    // The currents of a slot, from neuron `at` on.
    uint8_t* current(int delay, size_t at = 0) {
        return reinterpret_cast<uint8_t*>(currents_.data()) + (slot(delay) * size_ + at) * bytes_;
    }
    // For each row of a slot, whether anything was added to it.
    uint8_t* touched(int delay) { return touched_.data() + slot(delay) * rows_; }

private:
    size_t slot(int delay) const { return size_t(now_ + 1 + delay) % slots_; }

    size_t size_, rows_;
    int slots_, now_ = 0, bytes_ = 4;
    AlignedVector<int32_t> currents_;
    std::vector<uint8_t> touched_;
};

}  // namespace lmht::netx
