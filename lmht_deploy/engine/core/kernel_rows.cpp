#include "kernel_rows.hpp"

#include <algorithm>

namespace lmht {
namespace {

int largest_byte(uint64_t bytes) {
    int largest = 0;
    for (; bytes; bytes >>= 8) largest = std::max(largest, int(bytes & 255));
    return largest;
}

// A bound of the counts under the row: of packed ones, the bits that are there.
int max_count(const Source& source, const RowInputs& inputs) {
    const int possible = int(std::min<int64_t>(source.max_count, INT32_MAX));
    const bool known = inputs.path == Path::Dense && source.spikes.format == Format::Packed;
    return known ? std::min(possible, largest_byte(inputs.packed)) : possible;
}

void set_weights(SynapseRow& row, const Synapse& synapse, int slice) {
    const Slice& range = synapse.weights.slices[slice];
    const int kernel_height = synapse.geometry.kernel.y;
    row.weights = synapse.weights.bytes + range.offset;
    row.column_slots = kernel_height * range.channels;
    row.column_rows = kernel_height * range.pitch;
    if (synapse.weights.quads) row.quads = synapse.weights.quads + range.quads_offset;
}

// The kernel rows of output row y that lie inside the input: those of the padding need no dot
// products, if whole ones lie in it.
void set_inside(SynapseRow& row, const Synapse& synapse, int height, int slice, int y) {
    const Geometry& geometry = synapse.geometry;
    const int channels = synapse.weights.slices[slice].channels;
    const bool whole = channels % synapse.weights.dot_slots() == 0;
    int first = 0, last = geometry.kernel.y;
    const auto outside = [&](int ky) {
        const int at = geometry.input_row(y, ky);
        return whole && (at < 0 || at >= height);
    };
    while (first < last && outside(first)) ++first;
    while (first < last && outside(last - 1)) --last;
    row.first_slot = first * channels;
    row.inside_slots = (last - first) * channels;
}

void set_taps(SynapseRow& row, const SynapticLayer& layer, const Synapse& synapse,
              const Spikes& source, int y, int slice) {
    const Geometry& geometry = synapse.geometry;
    row.source = &source;
    row.taps = synapse.taps.data() + size_t(slice) * LANES;
    row.tap_pitch = layer.words() * LANES;
    row.first_row = geometry.input_row(y, 0);
    row.row_step = geometry.dilation.y;
    row.first_column = -geometry.padding.x;
    row.column_step = geometry.dilation.x;
    row.stride_x = geometry.stride.x;
    row.padded = geometry.padding.y || geometry.padding.x;
}

}  // namespace

NeuronRow neuron_row(const SynapticLayer& layer, const Activation* out, int y, int slice,
                     int32_t* currents) {
    const size_t lane = size_t(slice) * LANES;
    NeuronRow row{};
    row.width = layer.width;
    row.channels = std::min(layer.channels - slice * LANES, LANES);
    row.blocks = layer.blocks;
    row.currents = currents;
    row.neurons.bias = layer.bias.data() + lane;
    row.word = slice;
    if (!out) return row;
    row.neurons = {.bias = layer.bias.data() + lane,
                   .threshold = layer.threshold.data() + lane,
                   .v0 = layer.v0.data() + lane,
                   .window = nullptr,
                   .narrow_window = false,
                   .terms = layer.terms.data(),
                   .term_start = layer.term_start.data(),
                   .steps = layer.steps,
                   .substeps = layer.substeps,
                   .levels = layer.levels,
                   .leak = layer.leak,
                   .drive = layer.drive,
                   .reset = layer.reset,
                   .floor = layer.floor.empty() ? nullptr : layer.floor.data() + lane};
    if (!layer.window_thresholds.empty()) {
        row.neurons.window = layer.window_thresholds.data() + lane * layer.steps;
        row.neurons.narrow_window = layer.narrow_windows[slice];
    }
    row.out = &out->view(View::Steps);
    row.y = y;
    return row;
}

void set_synapse(SynapseRow& row, const SynapticLayer& layer, const Synapse& synapse,
                 const Source& source, const RowInputs& inputs, int y, int slice) {
    row.inputs = &inputs;
    row.max_count = max_count(source, inputs);
    row.exponent = synapse.exponent;
    row.first = synapse.geometry.first.data();
    row.kernel_width = synapse.geometry.kernel.x;
    row.kernel_height = synapse.geometry.kernel.y;
    if (synapse.channelwise()) {
        set_taps(row, layer, synapse, source.spikes, y, slice);
    } else {
        set_weights(row, synapse, slice);
        set_inside(row, synapse, source.spikes.height, slice, y);
    }
}

void set_multiplied(SynapseRow& row, const Synapse& synapse, const RowInputs& inputs,
                    const int32_t* sums, size_t sums_pitch) {
    row.inputs = &inputs;
    row.exponent = synapse.exponent;
    row.sums = sums;
    row.sums_pitch = sums_pitch;
}

DenseProduct dense_product(const Synapse& synapse, int slice, const std::vector<PixelTile>& tiles,
                           int pixels, WeightRange next) {
    const std::vector<size_t>& offsets = synapse.offsets[slice];
    return {.tiles = tiles.data(),
            .n_tiles = int(tiles.size()),
            .pixels = pixels,
            .value_pitch = synapse.image->pixel_bytes(),
            .offsets = offsets.data(),
            .depth = int(offsets.size()),
            .quads = synapse.weights.quads + synapse.weights.slices[slice].quads_offset,
            .prefetch = next.from,
            .prefetch_bytes = next.bytes};
}

}  // namespace lmht
