// Which weights to fetch into the cache while others are in use.
#pragma once
#include "memory_plan.hpp"
#include "path_choice.hpp"

namespace lmht {

struct WeightRange {
    const uint8_t* from = nullptr;
    size_t bytes = 0;

    // What `rows` of `height` rows fetch.
    WeightRange part(RowRange rows, int height) const {
        return {from + bytes / height * rows.first, bytes / height * (rows.last - rows.first)};
    }
};

// The weights of one slice, in the form that `path` reads.
WeightRange weights_of(const PackedWeights& weights, int slice, Path path);

// Whether a synapse has enough spikes to read every weight about once. With fewer spikes, most of
// what is fetched ahead would not be read.
bool reads_most_weights(const Synapse& synapse, const Source& source);

// The weights that the next layer with synapses after layer `index` begins with: all of them, or
// the first slice for Order::Slices. Its path is not known yet, and guessed to be that of `paths`,
// by layer.
WeightRange next_weights(const Model& model, const MemoryPlan& plan, size_t index,
                         const std::vector<Path>& paths);

}  // namespace lmht
