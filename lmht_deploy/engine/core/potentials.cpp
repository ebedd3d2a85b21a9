#include "potentials.hpp"

namespace lmht {
namespace {

size_t size_of(const Layer& layer) {
    if (!layer.synaptic || layer.synaptic->is_readout()) return 0;
    const SynapticLayer& neurons = *layer.synaptic;
    return size_t(neurons.height) * neurons.words() * neurons.width * LANES;
}

// The first potential of each layer, and behind them the number of all.
std::vector<size_t> firsts_of(const Model& model) {
    std::vector<size_t> first{0};
    for (const Layer& layer : model.layers) first.push_back(first.back() + size_of(layer));
    return first;
}

}  // namespace

Potentials::Potentials(const Model& model)
    : model_(model),
      first_(firsts_of(model)),
      bytes_(first_.back() * sizeof(int32_t)),
      memory_(aligned(bytes_)) {}

void Potentials::connect(NeuronRow& row, size_t index, int y, int slice) const {
    int32_t* const v = at(index, y, slice);
    row.earlier = first_run_ ? nullptr : v;
    row.kept = last_run_ ? nullptr : v;
}

int32_t* Potentials::at(size_t index, int y, int slice) const {
    const SynapticLayer& layer = *model_.layers[index].synaptic;
    const size_t row = size_t(y) * layer.words() + slice;
    return reinterpret_cast<int32_t*>(memory_.get()) + first_[index] + row * layer.width * LANES;
}

}  // namespace lmht
