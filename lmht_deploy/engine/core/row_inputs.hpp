// Builds the inputs of one output row: lists of active inputs, or the dense values.
#pragma once
#include <vector>

#include "activation.hpp"
#include "path_choice.hpp"

namespace lmht {

// The inputs of one output row of a layer, ready for the kernels.
struct PreparedRow {
    std::vector<RowInputs> inputs;  // by synapse
    int silent_blocks = 0;          // as in `NeuronRow`
};

// Fills `inputs`, whose path is chosen, for output row y and one slice: all blocks of the source,
// but not the dense values of the first `silent_blocks`. `chooser` tells which pairs of blocks
// share a list.
void gather_row(const Kernels& kernels, const Synapse& synapse, const Source& source, int slice,
                int y, int silent_blocks, const PathChooser& chooser, RowInputs& inputs);

}  // namespace lmht
