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
    AlignedVector<int32_t> u, v, counts;  // or sigma and act; `counts`: of spikes
    AlignedVector<int32_t> residue;       // of sigma-delta neurons
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
          residue(layer.sigma_delta ? u.size() : 0),
          recent(u.size()),
          rests(layer.shape.height),
          counted(layer.shape.row() / 8),
          currents(layer.shape, slots(layer)),
          spikes(layer.shape, layer.sigma_delta.has_value()) {
        for (int x = 0; x < layer.shape.width; ++x)
            for (int c = 0, at = x * layer.shape.pitch(); c < layer.shape.channels; ++c, ++at)
                counted[at / 8] |= uint8_t(1 << at % 8);
    }

    // Bytes per current: 2 where the weights prove that no sum leaves 16 bits.
    int current_bytes(bool graded) const {
        int64_t largest = 0;
        for (const auto* synapse : {layer.forward.get(), layer.recurrent.get()})
            if (synapse) largest += std::min<int64_t>(synapse->reach(), 1 << 16);
        return largest < 1 << 15 && !graded && !layer.sigma_delta ? 2 : 4;
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
        std::fill(residue.begin(), residue.end(), 0);
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
    // reaches is skipped, as it stays as it is. `values`: of the input [C, H, W], for a layer that
    // encodes it.
    void step(const Kernels& kernels, const int16_t* values) {
        if (layer.encodes_input())
            for (int y = 0; y < layer.shape.height; ++y) encode_row(y, values);
        else
            update(kernels);
    }

    // One step of neurons that currents reach.
    void update(const Kernels& kernels) {
        uint8_t* const touched = currents.touched(-1);
        for (int y = 0; y < layer.shape.height; ++y) {
            if (rests[y] && !touched[y]) {
                spikes.counts[y] = 0;
                continue;
            }
            const RowResult result = layer.sigma_delta ? sigma_delta_row(y, touched[y])
                                                       : kernels.neurons(row(y, touched[y]));
            spikes.counts[y] = result.spikes;
            rests[y] = result.rests;
            wrapped += result.wrapped;
            clipped += result.clipped;
            touched[y] = 0;
        }
    }

    // One row of sigma-delta neurons. After a step without a current nothing changes, except that a
    // sigma neuron repeats its value.
    RowResult sigma_delta_row(int y, bool touched) {
        const SigmaDelta& neuron = *layer.sigma_delta;
        const size_t begin = y * layer.shape.row();
        int32_t* const current = reinterpret_cast<int32_t*>(currents.current(-1, begin));
        RowResult result{0, neuron.kind != SigmaDelta::Kind::sigma, 0, 0};
        for (size_t i = 0; i < layer.shape.row(); ++i) {
            const int32_t sum = touched ? std::exchange(current[i], 0) : 0;
            const int32_t kept = wrap(sum, neuron.current_bits);
            result.wrapped += kept != sum;
            result.spikes += send(y, i, result.spikes, kept);
        }
        return result;
    }

    void encode_row(int y, const int16_t* values) {
        spikes.counts[y] = 0;
        for (int x = 0; x < layer.shape.width; ++x)
            for (int c = 0; c < layer.shape.channels; ++c) {
                const int16_t value =
                    values[c * layer.shape.plane() + size_t(y) * layer.shape.width + x];
                spikes.counts[y] +=
                    send(y, size_t(x) * layer.shape.pitch() + c, spikes.counts[y], value);
            }
    }

    // One step of the sigma-delta neuron in lane `lane` of row y; true where it sends a message,
    // which is then number `n` of the row.
    bool send(int y, size_t lane, int n, int32_t input) {
        const size_t at = y * layer.shape.row() + lane;
        const SigmaDeltaState state{u[at], v[at], residue[at]};
        const int32_t message = state.step(*layer.sigma_delta, input, layer.bias[at]);
        if (message == 0) return false;
        spikes.spikes[spikes.start(y) + n] = Spike(lane);
        spikes.values[spikes.start(y) + n] = message;
        ++recent[at];
        return true;
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
        if (record.messages) record_messages(record.messages + step * size);
        if (step % 255 == 254) count();
        if (record.u) unpad(layer.shape, u.data(), record.u + step * size);
        if (record.v) unpad(layer.shape, v.data(), record.v + step * size);
    }

    // to: zeros [C, H, W]
    void record_spikes(uint8_t* to) const {
        for_each([&](size_t index, int32_t) { to[index] = 1; });
    }

    void record_messages(int32_t* to) const {
        for_each([&](size_t index, int32_t value) { to[index] = value; });
    }

    // Calls f(index in (C, H, W), value) for each spike.
    template <class Function>
    void for_each(Function f) const {
        const Shape shape = layer.shape;
        for_each_spike(spikes, [&](size_t at, int32_t value) {
            const size_t y = at / shape.row(), x = at % shape.row() / shape.pitch();
            const size_t channel = at % shape.row() % shape.pitch();
            f(channel * shape.plane() + y * shape.width + x, value);
        });
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
        states_[i]->begin(i == 0 ? input.biases : nullptr,
                          i == 0 ? input.graded : network_.layers[i - 1].sigma_delta.has_value(),
                          records[i].u);
    LayerSpikes entering(network_.input, input.graded);
    for (int t = 0; t < schedule.steps; ++t) {
        const LayerSpikes* source = &entering;
        const int16_t* const values =
            input.spikes ? input.spikes + t * network_.input.size() : nullptr;
        for (int y = 0; input.spikes && y < network_.input.height; ++y)
            list_row(values, y, entering);
        for (int i = 0; i < int(states_.size()); ++i) {
            State& state = *states_[i];
            if (schedule.reset_interval && !state.layer.sigma_delta &&
                (t - i - schedule.reset_offset) % schedule.reset_interval == 0)
                state.reset();
            state.step(kernels, values);
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
