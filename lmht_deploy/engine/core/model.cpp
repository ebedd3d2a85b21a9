#include "model.hpp"

#include <algorithm>
#include <stdexcept>

#include "native/require.hpp"

namespace lmht {
namespace {

constexpr int64_t LARGEST =
    int64_t(1) << 24;  // of any size: keeps products of two within 64 bits, offsets checked below
constexpr uint64_t MOST_SLOTS =
    (uint64_t(1) << 32) / LANES;  // weight rows are addressed by 32-bit byte offsets

void require_size(int64_t value, int64_t least = 1) {
    require(value >= least && value <= LARGEST, "a size is out of range");
}

void require_extent(Extent extent, int least) {
    require_size(extent.y, least);
    require_size(extent.x, least);
}

std::vector<int32_t> padded(const int32_t* values, int n, int32_t padding) {
    std::vector<int32_t> found((n + LANES - 1) / LANES * LANES, padding);
    std::copy(values, values + n, found.begin());
    return found;
}

// Taps [kernel.y][kernel.x][words * 64] of one weight a channel, the exponent kept apart.
std::vector<int32_t> channelwise_taps(const SynapseSpec& spec) {
    const int area = spec.kernel.y * spec.kernel.x,
              pitch = (spec.channels_out + LANES - 1) / LANES * LANES;
    std::vector<int32_t> taps(size_t(area) * pitch, 0);
    for (int c = 0; c < spec.channels_out; ++c)
        for (int i = 0; i < area; ++i)
            taps[size_t(i) * pitch + c] = spec.weight[size_t(c) * area + i];
    return taps;
}

// Whether all columns of the T-GIM are equal, so that I[t] needs the sum over the window only.
bool is_uniform(const int32_t* omega, int steps, int blocks) {
    for (int t = 0; t < steps; ++t)
        for (int j = 1; j < blocks; ++j)
            if (omega[size_t(t) * blocks + j] != omega[size_t(t) * blocks]) return false;
    return true;
}

}  // namespace

View Tensor::same(View view) const {
    if (view == View::Window && steps_of(View::Blocks) == 1) view = View::Blocks;
    if (view == View::Blocks && substeps == 1) view = View::Steps;
    return view;
}

bool Synaptic::one_range() const {
    for (const Synapse& synapse : synapses)
        for (const Slice& slice : synapse.weights.slices)
            if (slice.channels != synapse.channels_in) return false;
    return true;
}

size_t Synaptic::weight_bytes() const {
    size_t bytes = 0;
    for (const Synapse& synapse : synapses)
        bytes += synapse.weights.size + synapse.weights.quads_size +
                 synapse.taps.size() * sizeof(int32_t);
    return bytes;
}

size_t Synaptic::row_bytes() const {
    size_t bytes = 0;
    for (const Synapse& synapse : synapses) bytes += synapse.weights.size;
    return bytes;
}

size_t Model::weight_bytes() const {
    size_t bytes = 0;
    for (const Layer& layer : layers)
        if (layer.synaptic)
            bytes +=
                layer.synaptic->weight_bytes() + 3 * layer.synaptic->bias.size() * sizeof(int32_t);
    return bytes;
}

const Tensor& Model::source(int tensor) const {
    require(!finished, "the model is finished");
    require(tensor >= 0 && tensor < int(tensors.size()), "a layer reads an unknown layer");
    return tensors[tensor];
}

int Model::add_tensor(Tensor tensor, Layer layer) {
    for (const int64_t size : {tensor.channels, tensor.height, tensor.width, tensor.steps})
        require_size(size);
    const int64_t places = int64_t(tensor.height) * tensor.width,
                  largest = std::max(-tensor.low, tensor.high);
    require(places <= LARGEST && places * tensor.words() <= LARGEST &&
                places * tensor.words() * tensor.steps <= LARGEST * LANES,
            "a layer is too large");
    require(tensor.low <= tensor.high && largest * tensor.steps <= INT32_MAX,
            "spike counts of a window can exceed 32 bits");
    tensors.push_back(tensor);
    note_uses(layer);
    layers.push_back(std::move(layer));
    return int(tensors.size()) - 1;
}

void Model::note_uses(const Layer& layer) {
    const auto use = [&](int tensor, View view) {
        tensors[tensor].last_use = int(layers.size());
        tensors[tensor].reads[int(view)] = true;
        if (view == View::Window)
            tensors[tensor].reads[int(tensors[tensor].same(View::Blocks))] =
                true;  // summed from there
    };
    if (layer.pool) use(layer.pool->source, View::Steps);
    if (layer.flatten) use(layer.flatten->source, View::Steps);
    if (layer.synaptic)
        for (const Synapse& synapse : layer.synaptic->synapses) use(synapse.source, synapse.view);
}

int Model::add_input(int channels, int height, int width, int steps, int64_t low, int64_t high) {
    require(tensors.empty(), "a model has one input, its first layer");
    return add_tensor({channels, height, width, steps, 1, std::min<int64_t>(low, 0),
                       std::max<int64_t>(high, 0), channels <= FEW},
                      Layer{});
}

int Model::add_pool(int source_, Extent kernel, Extent stride, Extent padding, bool max) {
    const Tensor& in = source(source_);
    require_extent(kernel, 1);
    require_extent(stride, 1);
    require_extent(padding, 0);
    require(2 * padding.y <= kernel.y && 2 * padding.x <= kernel.x,
            "the padding of a pooling is at most half its kernel");
    const Geometry geometry(kernel, stride, padding, {}, in.height, in.width);
    const int64_t area = max ? 1 : int64_t(kernel.y) * kernel.x;
    const Tensor out{in.channels, geometry.height_out, geometry.width_out, in.steps,
                     in.substeps, in.low * area,       in.high * area};
    Layer layer;
    layer.pool = Pool{source_, int(tensors.size()), kernel, stride, padding, max};
    return add_tensor(out, std::move(layer));
}

int Model::add_flatten(int source_) {
    const Tensor& in = source(source_);
    require_size(int64_t(in.channels) * in.height * in.width);
    Layer layer;
    layer.flatten = Flatten{source_, int(tensors.size())};
    return add_tensor(
        {in.channels * in.height * in.width, 1, 1, in.steps, in.substeps, in.low, in.high},
        std::move(layer));
}

Synaptic Model::connect(const std::vector<SynapseSpec>& specs, bool window) {
    require(!specs.empty(), "a layer has no synapse");
    Synaptic layer;
    for (const SynapseSpec& spec : specs) {
        const Tensor& in = source(spec.source);
        require_size(spec.channels_out);
        for (const Extent extent : {spec.kernel, spec.stride, spec.dilation})
            require_extent(extent, 1);
        require_extent(spec.padding, 0);
        require(spec.groups >= 1 && in.channels % spec.groups == 0 &&
                    spec.channels_out % spec.groups == 0,
                "groups do not divide the channels");
        require(spec.exponent >= 0 && spec.exponent < 32, "a weight exponent is out of range");
        Synapse synapse{
            spec.source,
            in.same(window ? View::Window : View::Blocks),
            Geometry(spec.kernel, spec.stride, spec.padding, spec.dilation, in.height, in.width),
            in.channels,
            spec.channels_out / spec.groups,
            spec.exponent,
            spec.counted,
            {},
            {}};
        const uint64_t slots = uint64_t(synapse.geometry.columns.size()) * uint64_t(spec.kernel.y) *
                               uint64_t(in.channels);
        require(uint64_t(synapse.geometry.columns.size()) * uint64_t(spec.kernel.y) <=
                        uint64_t(LARGEST) &&
                    slots < MOST_SLOTS,
                "a synapse is too large");
        if (spec.groups == in.channels && spec.groups == spec.channels_out)
            synapse.taps = channelwise_taps(spec);
        else
            synapse.weights =
                PackedWeights::pack(spec.weight, spec.channels_out, in.channels, spec.groups,
                                    spec.kernel.y, spec.kernel.x, kernels->dense_most > 0);
        const int blocks = in.steps_of(synapse.view);
        if (layer.synapses.empty()) {
            layer.channels = spec.channels_out;
            layer.height = synapse.geometry.height_out;
            layer.width = synapse.geometry.width_out;
            layer.blocks = blocks;
        }
        require(layer.channels == spec.channels_out &&
                    layer.height == synapse.geometry.height_out &&
                    layer.width == synapse.geometry.width_out && layer.blocks == blocks,
                "synapses that are summed differ in shape");
        layer.synapses.push_back(std::move(synapse));
    }
    return layer;
}

namespace {

// Whether summing the window first keeps the values as small as they are by block.
bool window_is_cheaper(const std::vector<Tensor>& tensors, const std::vector<SynapseSpec>& specs) {
    return std::all_of(specs.begin(), specs.end(), [&](const SynapseSpec& spec) {
        if (spec.source < 0 || spec.source >= int(tensors.size())) return false;
        const Tensor& in = tensors[spec.source];
        return in.format(View::Window) != Format::Wide || in.format(View::Blocks) == Format::Wide;
    });
}

int blocks_of(const std::vector<Tensor>& tensors, const std::vector<SynapseSpec>& specs) {
    return specs.empty() || specs[0].source < 0 || specs[0].source >= int(tensors.size())
               ? 0
               : tensors[specs[0].source].steps_of(View::Blocks);
}

Drive drive_of(const Synaptic& layer) {
    const auto same = [](const Term& a, const Term& b) {
        return a.block == b.block && a.weight == b.weight;
    };
    bool one = true, constant = true;
    const auto first = layer.terms.begin(), first_end = first + layer.term_start[1];
    for (int step = 0; step < layer.steps; ++step) {
        const auto terms = first + layer.term_start[step], end = first + layer.term_start[step + 1];
        one = one && end - terms == 1 && terms->weight == 1;
        constant = constant && std::equal(first, first_end, terms, end, same);
    }
    return constant ? Drive::Constant : one ? Drive::One : Drive::Mixed;
}

std::vector<int32_t> bias_of_block(const int32_t* bias, int channels, int steps) {
    std::vector<int32_t> found = padded(bias, channels, 0);
    for (int32_t& b : found) b = int32_t(uint32_t(b) * uint32_t(steps));
    return found;
}

}  // namespace

int Model::add_neurons(const std::vector<SynapseSpec>& specs, const NeuronSpec& spec) {
    require_size(spec.steps);
    require(spec.substeps >= 1 && spec.steps % spec.substeps == 0 && spec.levels >= 1,
            "steps, sub-steps or levels are out of range");
    require(spec.leak >= 0 && spec.leak <= 4 * LEAK_ONE, "the leak is out of range");
    const int blocks = blocks_of(tensors, specs);
    const bool window =
        is_uniform(spec.omega, spec.steps, blocks) && window_is_cheaper(tensors, specs);
    Synaptic layer = connect(specs, window);
    layer.bias = bias_of_block(spec.bias, layer.channels, window ? blocks : 1);
    layer.threshold = padded(spec.threshold, layer.channels, 1);
    layer.v0 = padded(spec.v0, layer.channels, 0);
    for (const int32_t threshold : layer.threshold)
        require(threshold >= 1, "a threshold is below 1");
    layer.steps = spec.steps;
    layer.substeps = spec.substeps;
    layer.levels = spec.levels;
    layer.leak = spec.leak;
    layer.term_start.push_back(0);
    for (int t = 0; t < spec.steps; ++t) {
        for (int j = 0; j < layer.blocks; ++j)
            if (const int32_t weight = spec.omega[size_t(t) * blocks + j])
                layer.terms.push_back({j, weight});
        layer.term_start.push_back(int32_t(layer.terms.size()));
    }
    layer.drive = drive_of(layer);
    layer.out = int(tensors.size());
    Tensor out{layer.channels, layer.height, layer.width, spec.steps, spec.substeps, 0,
               spec.levels};
    Layer holder;
    holder.synaptic = std::move(layer);
    const int id = add_tensor(out, std::move(holder));
    ++neuron_layers;
    ++synaptic_layers;
    return id;
}

void Model::add_readout(const std::vector<SynapseSpec>& specs, const int32_t* bias, int channels,
                        bool summable) {
    const int blocks = blocks_of(tensors, specs);
    const bool window = summable && window_is_cheaper(tensors, specs);
    Synaptic layer = connect(specs, window);
    require(layer.channels == channels && layer.height == 1 && layer.width == 1,
            "a read-out is flat");
    layer.bias = bias_of_block(bias, channels, window ? blocks : 1);
    Layer holder;
    holder.synaptic = std::move(layer);
    note_uses(holder);
    layers.push_back(std::move(holder));
    ++synaptic_layers;
    std::vector<PackedWeights*> all;
    for (Layer& each : layers)
        if (each.synaptic)
            for (Synapse& synapse : each.synaptic->synapses) all.push_back(&synapse.weights);
    weights_ = gather_weights(all);
    finished = true;
}

}  // namespace lmht
