#include "simulator.hpp"

#include <algorithm>
#include <utility>

#include "native/tiers.hpp"

namespace lmht::netx {
namespace {

const Tiers<Kernels>& tiers() {
    static const Tiers<Kernels> tiers{
#if defined(__x86_64__)
        {Isa::avx512, kernels_avx512},
        {Isa::avx2, kernels_avx2},
#endif
        {Isa::generic, kernels_generic}};
    return tiers;
}

// (C, H, W) -> [H][W][pitch]; the padding is left as it is.
void pad(Shape shape, const int32_t* from, int32_t* to) {
    for (int c = 0; c < shape.channels; ++c)
        for (int y = 0; y < shape.height; ++y)
            for (int x = 0; x < shape.width; ++x)
                to[y * shape.row() + size_t(x) * shape.pitch() + c] = *from++;
}

void unpad(Shape shape, const int32_t* from, int32_t* to) {
    for (int c = 0; c < shape.channels; ++c)
        for (int y = 0; y < shape.height; ++y)
            for (int x = 0; x < shape.width; ++x)
                *to++ = from[y * shape.row() + size_t(x) * shape.pitch() + c];
}

// Lists row y of the inputs [C, H, W] of one step that are not 0.
void list_row(const int16_t* from, int y, LayerSpikes& to) {
    const Shape shape = to.shape;
    const size_t start = to.start(y);
    uint8_t* const bits = to.bits(y);
    std::fill(bits, bits + shape.row() / 8, 0);
    int n = 0;
    for (int x = 0; x < shape.width; ++x)
        for (int c = 0; c < shape.channels; ++c) {
            const int16_t value = from[c * shape.plane() + size_t(y) * shape.width + x];
            if (!to.values.empty()) to.values[start + n] = value;
            const int at = x * shape.pitch() + c;
            to.spikes[start + n] = Spike(at);
            bits[at / 8] |= uint8_t((value != 0) << at % 8);
            n += value != 0;
        }
    to.counts[y] = n;
}

}  // namespace

std::vector<std::string> available_isas() {
    return tiers().names();
}

Network::Network(Shape input, const std::string& isa) : input(input), kernels(tiers().choose(isa)) {
    this->input.packed = true;
}

void Network::add(Layer layer) {
    AlignedVector<int32_t> bias(layer.shape.padded());
    pad(layer.shape, layer.bias.data(), bias.data());
    layer.bias = std::move(bias);
    layers.push_back(std::move(layer));
}

// The neurons of one layer and the currents on their way to them.
struct Simulation::State {
    const Layer& layer;
    AlignedVector<int32_t> u, v, counts;  // `counts`: of spikes
    // Spikes of up to 255 steps that are not in `counts` yet: bytes, which stay in the cache.
    AlignedVector<uint8_t> recent;
    AlignedVector<int32_t> sample_bias;  // replaces the layer's bias, if not empty
    std::vector<uint8_t> rests;          // by row; see RowResult
    std::vector<uint8_t> counted;        // of each row; see NeuronRow
    bool records_u = true;
    int64_t wrapped = 0, clipped = 0;
    CurrentRing currents;
    LayerSpikes spikes;

    explicit State(const Layer& layer)
        : layer(layer),
          u(layer.shape.padded()),
          v(u.size()),
          counts(u.size()),
          recent(u.size()),
          rests(layer.shape.height),
          counted(layer.shape.row() / 8),
          currents(layer.shape, slots(layer)),
          spikes(layer.shape) {
        for (int x = 0; x < layer.shape.width; ++x)
            for (int c = 0, at = x * layer.shape.pitch(); c < layer.shape.channels; ++c, ++at)
                counted[at / 8] |= uint8_t(1 << at % 8);
    }

    // Bytes per current: 2 where the weights prove that no sum leaves 16 bits.
    int current_bytes(bool graded) const {
        int64_t largest = 0;
        for (const auto* synapse : {layer.forward.get(), layer.recurrent.get()})
            if (synapse) largest += std::min<int64_t>(synapse->reach(), 1 << 16);
        return largest < 1 << 15 && !graded ? 2 : 4;
    }

    static int slots(const Layer& layer) {
        int longest = 0;
        for (const auto* synapse : {layer.forward.get(), layer.recurrent.get()})
            if (synapse) longest = std::max(longest, synapse->longest_delay());
        return longest + 1;
    }

    void reset() {
        std::fill(u.begin(), u.end(), 0);
        std::fill(v.begin(), v.end(), 0);
        std::fill(rests.begin(), rests.end(), 0);
    }

    // Before the first step. `biases` may be null; `graded` is about the spikes that enter.
    void begin(const int32_t* biases, bool graded, bool recorded) {
        records_u = recorded;
        wrapped = clipped = 0;
        reset();
        std::fill(counts.begin(), counts.end(), 0);
        std::fill(recent.begin(), recent.end(), 0);
        currents.clear(current_bytes(graded));
        sample_bias.clear();
        if (!biases) return;
        sample_bias.resize(u.size());
        pad(layer.shape, biases, sample_bias.data());
    }

    // One step of the neurons; `spikes` are those that fire. A row that rests and that nothing
    // reaches is skipped, as it stays as it is.
    void step(const Kernels& kernels) {
        uint8_t* const touched = currents.touched(-1);
        for (int y = 0; y < layer.shape.height; ++y) {
            if (rests[y] && !touched[y]) {
                spikes.counts[y] = 0;
                continue;
            }
            const RowResult result = kernels.neurons(row(y, touched[y]));
            spikes.counts[y] = result.spikes;
            rests[y] = result.rests;
            wrapped += result.wrapped;
            clipped += result.clipped;
            touched[y] = 0;
        }
    }

    NeuronRow row(int y, bool touched) {
        const size_t at = y * layer.shape.row();
        return {.neurons = layer.neurons,
                .lanes = int(layer.shape.row()),
                .u = layer.neurons.keep_u || records_u ? u.data() + at : nullptr,
                .v = v.data() + at,
                .bias = (sample_bias.empty() ? layer.bias : sample_bias).data() + at,
                .current = touched ? currents.current(-1, at) : nullptr,
                .current_bytes = currents.bytes(),
                .counted = counted.data(),
                .spikes = spikes.spikes.data() + spikes.start(y),
                .bits = spikes.bits(y),
                .recent = recent.data() + at};
    }

    void record(const Record& record, int step) {
        const size_t size = layer.shape.size();
        if (record.spikes) record_spikes(record.spikes + step * size);
        if (step % 255 == 254) count();
        if (record.u) unpad(layer.shape, u.data(), record.u + step * size);
        if (record.v) unpad(layer.shape, v.data(), record.v + step * size);
    }

    // to: zeros [C, H, W]
    void record_spikes(uint8_t* to) const {
        const Shape shape = layer.shape;
        for (int y = 0; y < shape.height; ++y)
            for (int i = 0; i < spikes.counts[y]; ++i) {
                const int at = int(spikes.row(y)[i]), x = at / shape.pitch();
                to[at % shape.pitch() * shape.plane() + size_t(y) * shape.width + x] = 1;
            }
    }

    void count() {
        for (size_t i = 0; i < counts.size(); ++i)
            counts[i] += std::exchange(recent[i], uint8_t(0));
    }

    void end(const Record& record) {
        count();
        unpad(layer.shape, counts.data(), record.counts);
        unpad(layer.shape, v.data(), record.potential);
        *record.wrapped = wrapped;
        *record.clipped = clipped;
    }
};

Simulation::Simulation(const Network& network) : network_(network) {
    for (const Layer& layer : network.layers) states_.push_back(std::make_unique<State>(layer));
}

Simulation::~Simulation() = default;

void Simulation::run(const Input& input, const Schedule& schedule, const Record* records) {
    const Kernels& kernels = *network_.kernels;
    for (size_t i = 0; i < states_.size(); ++i)
        states_[i]->begin(i == 0 ? input.biases : nullptr, i == 0 && input.graded, records[i].u);
    LayerSpikes entering(network_.input, input.graded);
    for (int t = 0; t < schedule.steps; ++t) {
        const LayerSpikes* source = &entering;
        for (int y = 0; input.spikes && y < network_.input.height; ++y)
            list_row(input.spikes + t * network_.input.size(), y, entering);
        for (int i = 0; i < int(states_.size()); ++i) {
            State& state = *states_[i];
            if (schedule.reset_interval &&
                (t - i - schedule.reset_offset) % schedule.reset_interval == 0)
                state.reset();
            state.step(kernels);
            state.record(records[i], t);
            if (state.layer.forward) state.layer.forward->deliver(*source, state.currents, kernels);
            if (state.layer.recurrent)
                state.layer.recurrent->deliver(state.spikes, state.currents, kernels);
            state.currents.advance();
            source = &state.spikes;
        }
    }
    for (size_t i = 0; i < states_.size(); ++i) states_[i]->end(records[i]);
}

}  // namespace lmht::netx
