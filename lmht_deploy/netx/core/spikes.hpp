// The spikes of a layer at one step.
#pragma once
#include <cstdint>
#include <vector>

#include "shape.hpp"

namespace lmht::netx {

// Lists and bits, row by row. The spikes of row y are the first counts[y] of those from start(y)
// on. Where there are any, bits(y) holds the row as one bit per lane, and 32 more zero bits behind
// it.
struct LayerSpikes {
    Shape shape;
    std::vector<Spike> spikes;
    std::vector<int32_t> values;  // of graded spikes, beside `spikes`; empty: all are 1
    std::vector<int> counts;
    std::vector<uint8_t> fired;

    explicit LayerSpikes(Shape shape, bool graded = false)
        : shape(shape),
          spikes(shape.padded() + SLACK),
          values(graded ? shape.padded() : 0),
          counts(shape.height),
          fired(shape.height * bits_pitch()) {}

    size_t start(int y) const { return y * shape.row(); }
    const Spike* row(int y) const { return spikes.data() + start(y); }
    const int32_t* row_values(int y) const {
        return values.empty() ? nullptr : values.data() + start(y);
    }
    size_t bits_pitch() const { return shape.row() / 8 + sizeof(uint32_t); }
    const uint8_t* bits(int y) const { return fired.data() + y * bits_pitch(); }
    uint8_t* bits(int y) { return fired.data() + y * bits_pitch(); }
};

// Calls f(index, value) for each spike; `index` is where the neuron lies in the layer.
template <class Function>
void for_each_spike(const LayerSpikes& source, Function f) {
    for (int y = 0; y < source.shape.height; ++y) {
        const size_t start = source.start(y);
        for (int i = 0; i < source.counts[y]; ++i)
            f(start + source.spikes[start + i],
              source.values.empty() ? 1 : source.values[start + i]);
    }
}

}  // namespace lmht::netx
