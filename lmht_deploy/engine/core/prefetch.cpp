#include "prefetch.hpp"

#include <algorithm>
#include <numeric>

namespace lmht {

WeightRange weights_of(const PackedWeights& weights, int slice, Path path) {
    const Slice& range = weights.slices[slice];
    if (path == Path::Dense && weights.quads)
        return {reinterpret_cast<const uint8_t*>(weights.quads) + range.quads_offset,
                range.quads_bytes};
    return {weights.bytes + range.offset, range.bytes};
}

bool reads_most_weights(const Synapse& synapse, const Source& source) {
    const int64_t* const active = source.tally.row_active[int(source.view)];
    const Extent stride = synapse.geometry.stride;
    const int64_t needed = int64_t(source.spikes.channels) * stride.x * stride.y;
    return std::accumulate(active, active + source.spikes.height, int64_t(0)) >= needed;
}

WeightRange next_weights(const Model& model, const MemoryPlan& plan, size_t index,
                         const std::vector<Path>& paths) {
    for (size_t i = index + 1; i < model.layers.size(); ++i) {
        if (!model.layers[i].synaptic) continue;
        const PackedWeights& weights = model.layers[i].synaptic->synapses.front().weights;
        if (weights.slices.empty()) return {};
        WeightRange range = weights_of(weights, 0, paths[i]);
        if (plan.layers[i].order == Order::Rows)
            range.bytes = std::min(weights.size, model.cache_bytes);
        return range;
    }
    return {};
}

}  // namespace lmht
