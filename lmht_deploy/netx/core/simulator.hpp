// A NetX network, step by step, with exactly the integers of Lava's fixed-point simulation.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sigma_delta.hpp"
#include "synapse.hpp"

namespace lmht::netx {

// The names of the tiers that this CPU runs, the best first.
std::vector<std::string> available_isas();

struct Layer {
    Shape shape;
    Neurons neurons;
    AlignedVector<int32_t> bias;                  // padded
    std::unique_ptr<Synapse> forward, recurrent;  // either may be null
    std::optional<SigmaDelta> sigma_delta;        // in place of `neurons`

    // Whether the values of the input reach the neurons in the same step, without a synapse.
    bool encodes_input() const {
        return sigma_delta && sigma_delta->kind == SigmaDelta::Kind::delta;
    }
};

// Where the results of a layer go, for one sample, in the order (C, H, W). Those of every step may
// be null.
struct Record {
    int32_t *counts, *potential;  // [C, H, W]: spikes of each neuron; v after the last step
    int64_t *wrapped, *clipped;   // one each: sums of RowResult's
    uint8_t* spikes;              // [steps, C, H, W]
    int32_t *u, *v;               // [steps, C, H, W], v after the reset; or sigma and act
    int32_t* messages;            // [steps, C, H, W], of sigma-delta neurons
};

// What drives a network: spikes of every step [steps, C, H, W], or the biases [C, H, W] of the
// first layer's neurons.
struct Input {
    const int16_t* spikes;
    const int32_t* biases;
    bool graded;  // spikes may have other values than 0 and 1
};

struct Schedule {
    int steps, reset_interval, reset_offset;  // interval 0: no reset
};

class Network {
public:
    // `input`: the shape of the spikes, or of the first layer where its biases drive the network.
    // `isa`: see native/tiers.hpp.
    Network(Shape input, const std::string& isa);
    Network(const Network&) = delete;

    void add(Layer layer);
    // The shape that the next layer reads.
    Shape source() const { return layers.empty() ? input : layers.back().shape; }

    Shape input;
    std::vector<Layer> layers;
    const Kernels* kernels;
};

// The state of one sample in a network; `run` starts from rest. For one thread.
class Simulation {
public:
    explicit Simulation(const Network& network);
    ~Simulation();
    void run(const Input& input, const Schedule& schedule, const Record* records);

private:
    struct State;
    const Network& network_;
    std::vector<std::unique_ptr<State>> states_;
};

}  // namespace lmht::netx
