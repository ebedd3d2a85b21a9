#include "outputs.hpp"

#include "encoder.hpp"

namespace lmht {

Count count_spikes(const Tensor& tensor, const Tally& tally) {
    Count count;
    for (int y = 0; y < tensor.height; ++y) {
        count.spikes += tally.row_spikes[y];
        count.events += tally.row_events[y];
    }
    return count;
}

Count count_sops(const Synapse& synapse, const Tally& source) {
    Count count;
    if (!synapse.counted) return count;
    const Geometry& geometry = synapse.geometry;
    for (int y = 0; y < geometry.height_in; ++y) {
        Count row{geometry.column_taps * source.row_spikes[y],
                  geometry.column_taps * source.row_events[y]};
        for (const auto [column, more] : geometry.other_columns) {
            const size_t at = size_t(y) * geometry.width_in + column;
            row.spikes += more * source.spikes[at];
            row.events += more * source.events[at];
        }
        count.spikes += row.spikes * geometry.row_taps[y] * synapse.fan_out;
        count.events += row.events * geometry.row_taps[y] * synapse.fan_out;
    }
    return count;
}

WindowOutputs::WindowOutputs(const Model& model, const RunOutputs& outputs, int window)
    : model_(model),
      outputs_(outputs),
      window_(window),
      logits_(outputs.logits + size_t(window) * model.layers.back().synaptic->channels) {}

void WindowOutputs::record(const Layer& layer, const std::vector<Activation>& activations) {
    if (!layer.synaptic) return;
    const size_t at = size_t(window_) * model_.synaptic_layers + synaptic_index_++;
    outputs_.sops[at] = outputs_.event_sops[at] = 0;
    for (const Synapse& synapse : layer.synaptic->synapses) {
        const Count sops = count_sops(synapse, activations[synapse.source].tally);
        outputs_.sops[at] += sops.spikes;
        outputs_.event_sops[at] += sops.events;
    }
    if (!layer.synaptic->is_readout())
        record_neurons(*layer.synaptic, activations[layer.synaptic->out]);
}

void WindowOutputs::record_neurons(const SynapticLayer& layer, const Activation& out) {
    const Tensor& tensor = model_.tensors[layer.out];
    const Count count = count_spikes(tensor, out.tally);
    const size_t at = size_t(window_) * model_.neuron_layers + neuron_index_;
    outputs_.spikes[at] = count.spikes;
    outputs_.events[at] = count.events;
    if (!outputs_.traces.empty())
        decode(out.view(View::Steps),
               outputs_.traces[neuron_index_] + size_t(window_) * tensor.values());
    ++neuron_index_;
}

}  // namespace lmht
