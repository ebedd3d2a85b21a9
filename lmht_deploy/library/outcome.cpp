#include "outcome.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace lmht::library {
namespace {

// Keeps its memory where it is large enough.
int64_t* sized(std::vector<int64_t>& values, size_t size) {
    values.resize(size);
    return values.data();
}

}  // namespace

RunOutputs Outcome::prepare(const Model& model, size_t windows, bool trace) {
    windows_ = 0;
    classes_ = size_t(model.layers.back().synaptic->channels);
    const size_t neurons = windows * size_t(model.neuron_layers);
    const size_t synaptic = windows * size_t(model.synaptic_layers);
    RunOutputs outputs{.logits = sized(logits_, windows * classes_),
                       .spikes = sized(spikes_, neurons),
                       .events = sized(events_, neurons),
                       .sops = sized(sops_, synaptic),
                       .event_sops = sized(event_sops_, synaptic),
                       .traces = {}};
    traces_.resize(trace ? size_t(model.neuron_layers) : 0);
    for (const Layer& layer : model.layers) {
        if (!trace || !layer.synaptic || layer.synaptic->is_readout()) continue;
        std::vector<int32_t>& values = traces_[outputs.traces.size()];
        values.resize(windows * model.tensors[size_t(layer.synaptic->out)].values());
        outputs.traces.push_back(values.data());
    }
    windows_ = windows;
    return outputs;
}

void Outcome::add(const Outcome& other) {
    windows_ = other.windows_;
    classes_ = other.classes_;
    seconds += other.seconds;
    for (const auto values : {&Outcome::logits_, &Outcome::spikes_, &Outcome::events_,
                              &Outcome::sops_, &Outcome::event_sops_}) {
        std::vector<int64_t>& sum = this->*values;
        const std::vector<int64_t>& added = other.*values;
        sum.resize(added.size());
        std::transform(sum.begin(), sum.end(), added.begin(), sum.begin(), std::plus());
    }
}

int64_t Outcome::total_spikes() const {
    return std::accumulate(spikes_.begin(), spikes_.end(), int64_t(0));
}

int64_t Outcome::total_sops() const {
    return std::accumulate(sops_.begin(), sops_.end(), int64_t(0));
}

}  // namespace lmht::library
