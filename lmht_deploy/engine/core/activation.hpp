// The output of a layer, in memory of an engine, and what a synapse reads of it.
#pragma once
#include "model.hpp"

namespace lmht {

struct Activation {
    Spikes views[VIEWS];  // by View; empty if no layer reads it
    Tally tally;

    const Spikes& view(View view) const { return views[int(view)]; }
};

// What a synapse reads: spikes, one step of which is a block, and their tally.
struct Source {
    const Spikes& spikes;
    const Tally& tally;
    View view;
    int steps_per_block;  // steps of the tally
    int64_t max_count;    // largest k of a block
};

inline Source source_of(const Synapse& synapse, const Tensor& tensor,
                        const Activation& activation) {
    return {activation.view(synapse.view), activation.tally, synapse.view,
            tensor.steps / tensor.steps_of(synapse.view), tensor.max_count(synapse.view)};
}

// Whether no input under output row y fires in a block. May say no where it could say yes: steps
// from 63 on are known together.
bool is_silent(const Geometry& geometry, const Source& source, int y, int block);

// The number of blocks before the first one that is not.
int silent_blocks(const Geometry& geometry, const Source& source, int y);

// Completes row y of a layer's output once its steps are written: the views that are sums of steps,
// and the tally.
void finish_row(const Kernels& kernels, const Tensor& tensor, const Activation& activation, int y);

// The same for layers that fire windows at once: only the sums of the window are written.
void finish_window_row(const Kernels& kernels, const Activation& activation, int y);

}  // namespace lmht
