// A network as the engine runs it: layers in order, weights packed, nothing that changes during a
// run.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "geometry.hpp"
#include "image.hpp"
#include "kernels.hpp"
#include "native/cache.hpp"
#include "weights.hpp"

namespace lmht {

// Weights beyond which all output rows take one path, so that only one form of them passes through
// the caches.
constexpr size_t MIXED_BYTES = size_t(1) << 18;

// Weights that stay in the cache of a core, at most: a larger one was not tried.
constexpr size_t MAX_CACHE_BYTES = size_t(1) << 20;

// The ways to read the spikes of a layer. What a synapse reads is a sequence of blocks.
enum class View : uint8_t {
    Steps,    // T * S sub-steps, as they are fired
    Blocks,   // T time-steps: the sub-steps of a block summed
    Window,   // one: everything summed
    Compact,  // T: as Window, but spread over as few blocks as hold the sums, the last ones
};
static_assert(VIEWS == int(View::Compact) + 1);

// Which paths the engine may take. All but Cheapest are for tests and benchmarks.
enum class PathPolicy : uint8_t {
    Cheapest,
    List,    // neither shared lists nor dense values
    Shared,  // shared lists, wherever the spikes are binary
    Dense,   // dense values, wherever the tier can
};

// The output of a layer. Flat layers are images of one pixel.
struct Tensor {
    int channels, height, width, steps, substeps;
    int64_t min, max;            // range of k at a sub-step
    bool packed = false;         // an input of few channels, whose counts share one word
    int last_use = 0;            // index of the last layer that reads it
    bool reads[VIEWS] = {true};  // views that are read, by `View`
    bool others_read = false;    // whether layers read other views than the window
    bool writes_window = false;  // whether a pooling or Flatten writes the window itself
    // Whose pixels have more or fewer synapses than those of other columns: see `Tally`.
    std::vector<int32_t> counted_columns = {};
    // By View: the image in which a view is written, if a synapse can read it there.
    std::array<std::optional<ImageLayout>, VIEWS> images = {};

    int words() const { return (channels + LANES - 1) / LANES; }
    size_t values() const { return size_t(steps) * channels * height * width; }
    int steps_of(View view) const {
        return view == View::Steps ? steps : view == View::Window ? 1 : steps / substeps;
    }
    int64_t max_count(View view) const;
    View canonical(View view) const;  // the first view that holds the same values
    Format format(View view) const;
    bool only_window_is_read() const { return !others_read && reads[int(View::Window)]; }
};

// The arguments of a synapse: weight int8 [channels_out][channels_in / groups][kernel.y][kernel.x].
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
    int channels_in;
    int fan_out;  // output channels that a spike reaches at each output pixel
    int exponent;
    bool counted;
    bool streamed = false;  // whether the weights are read from beyond the caches of a core
    PackedWeights weights;  // empty for a channelwise synapse
    std::optional<ImageLayout> image;  // of what it reads, where tiles are multiplied
    bool in_place = false;             // whether it reads the counts where they were written
    std::vector<std::vector<size_t>> offsets;  // in it, by slice: see `DenseProduct`
    std::vector<int32_t> taps;                 // channelwise: [kernel.y][kernel.x][words * 64]

    bool channelwise() const { return !taps.empty(); }
};

struct NeuronSpec {
    const int32_t *bias, *threshold, *v0;  // [channels]
    const int32_t* omega;                  // [steps][blocks], one row per sub-step
    int steps, substeps, levels, leak;
    Reset reset = Reset::Subtract;
    const int32_t* floor = nullptr;  // [channels]; null for none
};

// A layer with synapses: neurons, or the read-out.
struct SynapticLayer {
    static constexpr int NO_OUTPUT = -1;

    int out = NO_OUTPUT;  // number of its tensor
    int channels = 0, height = 1, width = 1, blocks = 1;
    std::vector<Synapse> synapses;
    std::vector<int32_t> bias, threshold, v0;  // [words * 64]
    std::vector<Term> terms;
    std::vector<int32_t> term_start;
    int steps = 0, substeps = 1, levels = 1, leak = LEAK_ONE;
    Drive drive = Drive::Mixed;
    // [words][T][64]: currents from which on a window has 1, 2, ... spikes: see neurons.hpp. Empty
    // where the steps of a window are fired one by one.
    std::vector<int32_t> window_thresholds;
    std::vector<uint8_t> narrow_windows;  // [words]: see `NeuronSlice`
    Reset reset = Reset::Subtract;
    std::vector<int32_t> floor;       // [words * 64]; empty for none
    bool slices_share_inputs = true;  // whether every slice reads all input channels

    bool is_readout() const { return out == NO_OUTPUT; }
    int words() const { return (channels + LANES - 1) / LANES; }
    size_t currents_of_a_row() const { return size_t(width) * blocks * LANES; }
    size_t weight_bytes() const;
    size_t row_bytes() const;  // of one of the two forms of the weights: what a run touches
};

struct Pool {
    int source, out;
    Extent kernel, stride, padding;
    bool max;
};

struct Flatten {  // (C, H, W) -> C * H * W channels, in that order
    int source, out;
};

struct Layer {  // the input has none of these
    std::optional<SynapticLayer> synaptic;
    std::optional<Pool> pool;
    std::optional<Flatten> flatten;
};

class Model {
public:
    explicit Model(const Kernels* kernels, PathPolicy policy = PathPolicy::Cheapest)
        : Model(kernels, kernels->costs, policy) {}
    Model(const Kernels* kernels, const Costs& costs, PathPolicy policy)
        : kernels(kernels), costs(costs), policy(policy) {}
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    // Each adds a layer and returns the number of its output. They throw std::invalid_argument
    // where the layer does not fit.
    int add_input(int channels, int height, int width, int steps, int64_t min, int64_t max);
    int add_pool(int source, Extent kernel, Extent stride, Extent padding, bool max);
    int add_flatten(int source);
    int add_neurons(const std::vector<SynapseSpec>& synapses, const NeuronSpec& neurons);
    // The last layer. `summable`: the current summed over the window is proved to fit 32 bits.
    void add_readout(const std::vector<SynapseSpec>& synapses, const int32_t* bias, int channels,
                     bool summable);

    size_t weight_bytes() const;

    const Kernels* kernels;
    Costs costs;
    PathPolicy policy;
    size_t cache_bytes = std::min(second_level_cache(MAX_CACHE_BYTES), MAX_CACHE_BYTES);
    std::vector<Tensor> tensors;  // tensor i is the output of layer i; the first is the input
    std::vector<Layer> layers;    // the last is the read-out once `finished`
    int neuron_layers = 0, synaptic_layers = 0;
    bool finished = false;

private:
    int add_tensor(const Tensor& tensor, Layer layer);
    const Tensor& source(int tensor) const;
    Synapse make_synapse(const SynapseSpec& spec, View view) const;
    SynapticLayer connect(const std::vector<SynapseSpec>& specs, View view) const;
    void note_uses();
    void note_use(int tensor, int reader, View view);
    void note_columns(const Synapse& synapse);
    bool can_write_window(const Layer& layer, const Tensor& out) const;
    void choose_images_in_place();
    void choose_windows_fired_at_once();
    void note_streamed_weights();
    void gather_all_weights();

    Aligned<uint8_t> weights_;  // of all layers
};

// The tier `isa`, see native/tiers.hpp; "" for the best one. Throws std::invalid_argument.
const Kernels* choose_kernels(const std::string& isa);
std::vector<std::string> available_isas();

}  // namespace lmht
