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

// (C, H, W) -> [H][W][pitch], zeros in the padding.
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

// Lists the inputs of one step that are not zero.
void list(const int16_t* from, Active& to) {
    const Shape shape = to.shape;
    const size_t plane = size_t(shape.height) * shape.width;
    for (int y = 0; y < shape.height; ++y) {
        const size_t start = to.start(y);
        uint8_t* bits = to.bits(y);
        std::fill(bits, bits + shape.row() / 8, 0);
        int n = 0;
        for (int x = 0; x < shape.width; ++x, ++from)
            for (int c = 0; c < shape.channels; ++c) {
                const int16_t value = from[c * plane];
                if (!to.values.empty()) to.values[start + n] = value;
                const int at = x * shape.pitch() + c;
                to.spikes[start + n] = Spike(at);
                bits[at / 8] |= uint8_t((value != 0) << at % 8);
                n += value != 0;
            }
        to.counts[y] = n;
    }
}

}  // namespace

std::vector<std::string> available_isas() {
    return tiers().names();
}

Network::Network(Shape input, const std::string& isa) : input(input), kernels(tiers().choose(isa)) {
    this->input.packed = true;
}

Layer& Network::add(Layer layer) {
    AlignedVector<int32_t> bias(layer.shape.padded());
    pad(layer.shape, layer.bias.data(), bias.data());
    layer.bias = std::move(bias);
    layers.push_back(std::move(layer));
    return layers.back();
}

// Neurons of one layer and what is on its way to them.
struct Simulation::State {
    const Layer& layer;
    AlignedVector<int32_t> u, v, counts;  // `counts`: of spikes
    AlignedVector<uint8_t>
        recent;  // spikes of up to 255 steps, not yet in `counts`: they stay in the cache
    AlignedVector<int32_t> driven;  // biases that the sample brings, in place of the layer's
    std::vector<uint8_t> rests;     // by row; see RowResult
    std::vector<uint8_t> heard;     // of a row; see NeuronRow
    bool shows_u = true;
    Arrivals arrivals;
    Active active;

    explicit State(const Layer& layer)
        : layer(layer),
          u(layer.shape.padded()),
          v(u.size()),
          counts(u.size()),
          recent(u.size()),
          rests(layer.shape.height),
          heard(layer.shape.row() / 8),
          arrivals(layer.shape, slots(layer)),
          active(layer.shape) {
        for (int x = 0; x < layer.shape.width; ++x)
            for (int c = 0, at = x * layer.shape.pitch(); c < layer.shape.channels; ++c, ++at)
                heard[at / 8] |= uint8_t(1 << at % 8);
    }

    // Whether no current of spikes can leave 16 bits: `values` are other than 1 where they enter
    // with other values.
    bool narrow(bool graded) const {
        int64_t most = 0;
        for (const auto* synapse : {layer.forward.get(), layer.recurrent.get()})
            if (synapse) most += std::min<int64_t>(synapse->reach(), 1 << 16);
        return most < 1 << 15 && !graded;
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

    void begin(const int32_t* biases, bool graded, bool recorded) {
        shows_u = recorded;
        reset();
        std::fill(counts.begin(), counts.end(), 0);
        std::fill(recent.begin(), recent.end(), 0);
        arrivals.clear(narrow(graded));
        driven.clear();
        if (!biases) return;
        driven.resize(u.size());
        pad(layer.shape, biases, driven.data());
    }

    // One step of the neurons: `active` are those that fire. A row that rests, and that nothing
    // reaches, stays as it is.
    void step(const Kernels& kernels) {
        const Shape shape = layer.shape;
        const int32_t* bias = driven.empty() ? layer.bias.data() : driven.data();
        uint8_t* touched = arrivals.touched(-1);
        for (int y = 0; y < shape.height; ++y) {
            if (rests[y] && !touched[y]) {
                active.counts[y] = 0;
                continue;
            }
            const size_t at = y * shape.row();
            const RowResult result = kernels.neurons(
                {layer.neurons, int(shape.row()),
                 layer.neurons.keep_u || shows_u ? u.data() + at : nullptr, v.data() + at,
                 bias + at, touched[y] ? arrivals.current(-1, at) : nullptr, arrivals.bytes(),
                 heard.data(), active.spikes.data() + active.start(y), active.bits(y),
                 recent.data() + at});
            active.counts[y] = result.spikes;
            rests[y] = result.rests;
            touched[y] = 0;
        }
    }

    void record(const Record& record, int step) {
        const Shape shape = layer.shape;
        const size_t size = shape.size();
        for (int y = 0; record.spikes && y < shape.height; ++y) {
            const size_t start = active.start(y);
            for (int i = 0; i < active.counts[y]; ++i) {
                const int x = int(active.spikes[start + i]) / shape.pitch(),
                          channel = int(active.spikes[start + i]) % shape.pitch();
                record
                    .spikes[step * size + (size_t(channel) * shape.height + y) * shape.width + x] =
                    1;
            }
        }
        if (step % 255 == 254) count();
        if (record.u) unpad(shape, u.data(), record.u + step * size);
        if (record.v) unpad(shape, v.data(), record.v + step * size);
    }

    void count() {
        for (size_t i = 0; i < counts.size(); ++i)
            counts[i] += std::exchange(recent[i], uint8_t(0));
    }

    void end(const Record& record) {
        count();
        unpad(layer.shape, counts.data(), record.counts);
        unpad(layer.shape, v.data(), record.potential);
    }
};

Simulation::Simulation(const Network& network) : network_(network) {
    for (const Layer& layer : network.layers) states_.push_back(std::make_unique<State>(layer));
}

Simulation::~Simulation() = default;

void Simulation::run(const Input& input, const Schedule& schedule, const Record* records) {
    for (size_t i = 0; i < states_.size(); ++i)
        states_[i]->begin(i == 0 ? input.biases : nullptr, i == 0 && input.graded, records[i].u);
    Active entering(network_.input, input.graded);
    for (int t = 0; t < schedule.steps; ++t) {
        const Active* source = nullptr;
        if (input.spikes) {
            list(input.spikes + t * network_.input.size(), entering);
            source = &entering;
        }
        for (size_t i = 0; i < states_.size(); ++i) {
            State& state = *states_[i];
            if (schedule.reset_interval &&
                (t - int(i) - schedule.reset_offset) % schedule.reset_interval == 0)
                state.reset();
            state.step(*network_.kernels);
            state.record(records[i], t);
            if (state.layer.forward)
                state.layer.forward->deliver(*source, state.arrivals, *network_.kernels);
            if (state.layer.recurrent)
                state.layer.recurrent->deliver(state.active, state.arrivals, *network_.kernels);
            state.arrivals.advance();
            source = &state.active;
        }
    }
    for (size_t i = 0; i < states_.size(); ++i) states_[i]->end(records[i]);
}

}  // namespace lmht::netx
