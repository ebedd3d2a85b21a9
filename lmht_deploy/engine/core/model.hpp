// A network as the engine runs it: layers in order, weights packed, nothing that changes while it
// runs.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "geometry.hpp"
#include "kernels.hpp"
#include "weights.hpp"

namespace lmht {

// The three ways to read the spikes of a layer.
enum class View : uint8_t {
    Steps,   // T * S sub-steps, as they are fired
    Blocks,  // T time-steps: sub-steps of a block summed
    Window,  // one: everything summed
};

// The output of a layer. Flat layers are 1 x 1 pixels.
struct Tensor {
    int channels, height, width, steps, substeps;
    int64_t low, high;  // range of k at a sub-step
    bool few = false;   // an input of few channels, whose counts are kept together
    int last_use = 0;   // index of the last layer that reads it
    bool reads[3] = {true, false, false};  // views that are read, by `View`

    int words() const { return (channels + LANES - 1) / LANES; }
    int steps_of(View view) const {
        return view == View::Steps ? steps : view == View::Blocks ? steps / substeps : 1;
    }
    View same(View view) const;  // the first view that holds the same values
    Format format(View view) const {
        const Format format =
            format_of(low * (steps / steps_of(view)), high * (steps / steps_of(view)));
        return few && format == Format::Counts ? Format::Few : format;
    }
};

// What the caller gives for a synapse: weight int8 [channels_out][channels_in /
// groups][kernel.y][kernel.x].
struct SynapseSpec {
    int source;
    const int8_t* weight;
    int channels_out;
    Extent kernel, stride, padding, dilation;
    int groups, exponent;
    bool counted;  // as synaptic operations; false where it reads the pixels of an image
};

struct Synapse {
    int source;
    View view;
    Geometry geometry;
    int channels_in, fan_out;  // output channels that a spike reaches at each output pixel
    int exponent;
    bool counted;
    PackedWeights weights;      // empty for a channelwise synapse
    std::vector<int32_t> taps;  // channelwise: [kernel.y][kernel.x][words * 64]

    bool channelwise() const { return !taps.empty(); }
};

struct NeuronSpec {
    const int32_t *bias, *threshold, *v0;  // [channels]
    const int32_t* omega;                  // [steps][blocks], a row a sub-step
    int steps, substeps, levels, leak;
};

// A layer with synapses: neurons, or the read-out (out < 0).
struct Synaptic {
    int out = -1;
    int channels = 0, height = 1, width = 1, blocks = 1;
    std::vector<Synapse> synapses;
    std::vector<int32_t> bias, threshold, v0;  // [words * 64]
    std::vector<Term> terms;
    std::vector<int32_t> term_start;
    int steps = 0, substeps = 1, levels = 1, leak = LEAK_ONE;
    Drive drive = Drive::Mixed;

    int words() const { return (channels + LANES - 1) / LANES; }
    bool one_range() const;  // whether every slice reads all input channels
    size_t weight_bytes() const;
    size_t row_bytes() const;  // of one of the two forms of the weights: what a run touches
};

struct Pool {
    int source, out;
    Extent kernel, stride, padding;
    bool max;
};

struct Flatten {  // (C, H, W) -> C*H*W channels, in that order
    int source, out;
};

struct Layer {
    std::optional<Synaptic> synaptic;
    std::optional<Pool> pool;
    std::optional<Flatten> flatten;
};

class Model {
public:
    explicit Model(const Kernels* kernels) : kernels(kernels) {}
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    // Each adds a layer and returns the number of its output; std::invalid_argument where it does
    // not fit.
    int add_input(int channels, int height, int width, int steps, int64_t low, int64_t high);
    int add_pool(int source, Extent kernel, Extent stride, Extent padding, bool max);
    int add_flatten(int source);
    int add_neurons(const std::vector<SynapseSpec>& synapses, const NeuronSpec& neurons);
    // `summable`: the current summed over the window is proved to fit 32 bits.
    void add_readout(const std::vector<SynapseSpec>& synapses, const int32_t* bias, int channels,
                     bool summable);

    size_t weight_bytes() const;

    const Kernels* kernels;
    std::vector<Tensor> tensors;  // the first is the input
    std::vector<Layer> layers;    // the last is the read-out once `finished`
    int neuron_layers = 0, synaptic_layers = 0;
    bool finished = false;

private:
    Aligned<uint8_t> weights_;  // of all layers

    int add_tensor(Tensor tensor, Layer layer);
    const Tensor& source(int tensor) const;
    Synaptic connect(const std::vector<SynapseSpec>& specs, bool window);
    void note_uses(const Layer& layer);
};

const Kernels* choose_kernels(
    const std::string& isa);  // "" for the best this CPU has; std::invalid_argument
std::vector<std::string> available_isas();

}  // namespace lmht
