#include "kernel_rows.hpp"

namespace lmht {
namespace {

void set_weights(SynapseRow& row, const Synapse& synapse, int slice) {
    const Slice& range = synapse.weights.slices[slice];
    const int kernel_height = synapse.geometry.kernel.y;
    row.weights = synapse.weights.bytes + range.offset;
    row.column_slots = kernel_height * range.channels;
    row.column_rows = kernel_height * range.pitch;
    if (synapse.weights.quads) row.quads = synapse.weights.quads + range.quads_offset;
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
}

}  // namespace

NeuronRow neuron_row(const SynapticLayer& layer, const Spikes* out, int y, int slice,
                     int32_t* currents) {
    const size_t lane = size_t(slice) * LANES;
    NeuronRow row{};
    row.width = layer.width;
    row.blocks = layer.blocks;
    row.currents = currents;
    row.neurons.bias = layer.bias.data() + lane;
    row.word = slice;
    if (!out) return row;
    row.neurons = {.bias = layer.bias.data() + lane,
                   .threshold = layer.threshold.data() + lane,
                   .v0 = layer.v0.data() + lane,
                   .terms = layer.terms.data(),
                   .term_start = layer.term_start.data(),
                   .steps = layer.steps,
                   .substeps = layer.substeps,
                   .levels = layer.levels,
                   .leak = layer.leak,
                   .drive = layer.drive};
    row.out = out;
    row.y = y;
    return row;
}

SynapseRow synapse_row(const SynapticLayer& layer, const Synapse& synapse, const Spikes& source,
                       const RowInputs& inputs, int y, int slice) {
    SynapseRow row{};
    row.inputs = &inputs;
    row.exponent = synapse.exponent;
    row.first = synapse.geometry.first.data();
    row.kernel_width = synapse.geometry.kernel.x;
    row.kernel_height = synapse.geometry.kernel.y;
    if (synapse.channelwise())
        set_taps(row, layer, synapse, source, y, slice);
    else
        set_weights(row, synapse, slice);
    return row;
}

DenseProduct dense_product(const Synapse& synapse, const RowInputs& inputs, int slice, int pixels,
                           int32_t* sums, WeightRange next) {
    const Geometry& geometry = synapse.geometry;
    const Slice& range = synapse.weights.slices[slice];
    const int column_slots = geometry.kernel.y * range.channels;
    return {.values = inputs.dense,
            .value_pitch = size_t(geometry.pixel_distance) * column_slots,
            .pixels = pixels,
            .quads = synapse.weights.quads + range.quads_offset,
            .depth = (geometry.kernel.x * column_slots + DEPTH - 1) / DEPTH,
            .sums = sums,
            .prefetch = next.from,
            .prefetch_bytes = next.bytes};
}

}  // namespace lmht
