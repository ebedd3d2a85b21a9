// The arguments of the kernels for one output row of a layer.
#pragma once
#include <vector>

#include "activation.hpp"
#include "prefetch.hpp"
#include "row_inputs.hpp"

namespace lmht {

// Row y and slice `slice` of `layer`, without synapses. `out` is null for the read-out.
NeuronRow neuron_row(const SynapticLayer& layer, const Activation* out, int y, int slice,
                     int32_t* currents);

// Sets one synapse of it, which reads `source`. `row` is empty. It is set in place: a copy would
// wait until the single members are stored.
void set_synapse(SynapseRow& row, const SynapticLayer& layer, const Synapse& synapse,
                 const Source& source, const RowInputs& inputs, int y, int slice);

// The same of a synapse whose sums were multiplied before.
void set_multiplied(SynapseRow& row, const Synapse& synapse, const RowInputs& inputs,
                    const int32_t* sums, size_t sums_pitch);

// The product of some tiles of at most `pixels` output pixels each with the weights of a slice.
DenseProduct dense_product(const Synapse& synapse, int slice, const std::vector<PixelTile>& tiles,
                           int pixels, WeightRange next);

}  // namespace lmht
