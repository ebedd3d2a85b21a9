// The integers of a run: where they go, and how they are counted.
#pragma once
#include <vector>

#include "activation.hpp"

namespace lmht {

// What one layer did in a run, summed over the windows.
struct LayerProfile {
    int64_t nanoseconds = 0;
    // Output rows by `Path`, one per synapse (and slice, where slices read different channels).
    int64_t rows[PATHS] = {};
};

// Arrays of the caller, for B windows.
struct RunOutputs {
    int64_t* logits;                  // [B][classes]
    int64_t *spikes, *events;         // [B][neuron layers]
    int64_t *sops, *event_sops;       // [B][layers with synapses]
    std::vector<int32_t*> traces;     // empty, or [B][steps][C][H][W] per neuron layer
    LayerProfile* profile = nullptr;  // null, or [layers]
};

// Of one layer and one window. `spikes` counts k, `events` counts a graded spike once.
struct Count {
    int64_t spikes = 0, events = 0;
};

// Spikes that a layer fired.
Count count_spikes(const Tensor& tensor, const Tally& tally);
// Synaptic operations of a synapse: its input spikes, times the synapses that each crosses.
Count count_sops(const Synapse& synapse, const Tally& source);

// Writes the integers of one window, layer by layer.
class WindowOutputs {
public:
    WindowOutputs(const Model& model, const RunOutputs& outputs, int window);

    int64_t* logits() const { return logits_; }
    // To be called once for each layer, in order.
    void record(const Layer& layer, const std::vector<Activation>& activations);

private:
    void record_neurons(const SynapticLayer& layer, const Activation& out);

    const Model& model_;
    const RunOutputs& outputs_;
    int window_;
    int64_t* logits_;
    int neuron_index_ = 0, synaptic_index_ = 0;  // of the next layer, within its kind
};

}  // namespace lmht
