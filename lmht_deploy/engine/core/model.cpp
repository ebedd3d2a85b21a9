#include "model.hpp"

#include <algorithm>

#include "native/require.hpp"

namespace lmht {
namespace {

// Of any size: keeps products of two within 64 bits.
constexpr int64_t MAX_SIZE = int64_t(1) << 24;
// Weight rows are addressed by 32-bit byte offsets.
constexpr uint64_t MAX_SLOTS = (uint64_t(1) << 32) / LANES;

void require_size(int64_t value, int64_t min = 1) {
    require(value >= min && value <= MAX_SIZE, "a size is out of range");
}

void require_extent(Extent extent, int min) {
    require_size(extent.y, min);
    require_size(extent.x, min);
}

// `n` values, filled up to whole slices.
std::vector<int32_t> padded(const int32_t* values, int n, int32_t padding) {
    std::vector<int32_t> found((n + LANES - 1) / LANES * LANES, padding);
    std::copy(values, values + n, found.begin());
    return found;
}

// Taps [kernel.y][kernel.x][words * 64] of a synapse with one weight per channel.
std::vector<int32_t> channelwise_taps(const SynapseSpec& spec) {
    const int area = spec.kernel.y * spec.kernel.x;
    const int pitch = (spec.channels_out + LANES - 1) / LANES * LANES;
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

// How to read inputs of which only the sum over the window matters: summed, if that keeps the
// values as small as they are by block.
View view_of_sums(const std::vector<Tensor>& tensors, const std::vector<SynapseSpec>& specs) {
    bool small = true, packed = true;
    for (const SynapseSpec& spec : specs) {
        if (spec.source < 0 || spec.source >= int(tensors.size())) return View::Blocks;
        const Tensor& in = tensors[spec.source];
        const Format block = in.format(View::Blocks);
        small &= block == Format::Wide || in.format(View::Window) != Format::Wide;
        packed &= block == Format::Packed;
    }
    return small ? View::Window : packed ? View::Compact : View::Blocks;
}

// Number of blocks that the first synapse reads; 0 where there is no such synapse or tensor.
int blocks_of(const std::vector<Tensor>& tensors, const std::vector<SynapseSpec>& specs) {
    const bool known =
        !specs.empty() && specs[0].source >= 0 && specs[0].source < int(tensors.size());
    return known ? tensors[specs[0].source].steps_of(View::Blocks) : 0;
}

// The entries of the T-GIM [steps][columns] that are not zero, step by step. Where the window is
// summed, the layer has one block, and all columns are equal.
void set_terms(SynapticLayer& layer, const int32_t* omega, int columns) {
    layer.term_start.push_back(0);
    for (int t = 0; t < layer.steps; ++t) {
        for (int j = 0; j < layer.blocks; ++j)
            if (const int32_t weight = omega[size_t(t) * columns + j])
                layer.terms.push_back({j, weight});
        layer.term_start.push_back(int32_t(layer.terms.size()));
    }
}

Drive drive_of(const SynapticLayer& layer) {
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

// Whether the spike counts of a window follow from the sum of its currents: see neurons.hpp.
bool counts_follow(const SynapticLayer& layer) {
    bool begins_between = true;  // 0 and theta
    for (size_t c = 0; c < layer.v0.size(); ++c)
        begins_between &= layer.v0[c] >= 0 && layer.v0[c] < layer.threshold[c];
    bool same = !layer.terms.empty() && layer.terms[0].weight > 0;
    for (const Term& term : layer.terms) same &= term.weight == layer.terms[0].weight;
    return begins_between && same && layer.drive == Drive::Constant && layer.levels == 1 &&
           layer.steps <= MAX_COMPARISONS && layer.leak == LEAK_ONE &&
           layer.reset == Reset::Subtract && layer.floor.empty();
}

// The smallest current X with v0 + T * weight * X >= n * theta, for n = 1 .. T; empty where one of
// them exceeds 32 bits.
std::vector<int32_t> window_thresholds(const SynapticLayer& layer) {
    const int64_t gain = int64_t(layer.steps) * layer.terms[0].weight;
    std::vector<int32_t> found;
    for (int word = 0; word < layer.words(); ++word)
        for (int n = 1; n <= layer.steps; ++n)
            for (size_t c = size_t(word) * LANES; c < size_t(word + 1) * LANES; ++c) {
                const int64_t distance = int64_t(n) * layer.threshold[c] - layer.v0[c];
                const int64_t least = (distance + gain - 1) / gain;
                if (least > INT32_MAX) return {};
                found.push_back(int32_t(least));
            }
    return found;
}

// By slice: whether thresholds lie within 16 bits of the first one of their channel, and any
// current X within 32 bits of it. X has a lower bound because v0 + T * weight * X is proved to fit
// 32 bits.
std::vector<uint8_t> narrow_windows(const SynapticLayer& layer) {
    const int64_t gain = int64_t(layer.steps) * layer.terms[0].weight;
    const size_t last = size_t(layer.steps - 1) * LANES;
    std::vector<uint8_t> found(size_t(layer.words()), true);
    for (size_t c = 0; c < layer.v0.size(); ++c) {
        const size_t word = c / LANES;
        const int32_t* const first =
            layer.window_thresholds.data() + word * layer.steps * LANES + c % LANES;
        const int64_t least = (INT32_MIN - int64_t(layer.v0[c])) / gain;
        if (first[last] - first[0] > INT16_MAX || least - first[0] < INT32_MIN) found[word] = false;
    }
    return found;
}

std::vector<int32_t> bias_of_block(const int32_t* bias, int channels, int steps) {
    std::vector<int32_t> found = padded(bias, channels, 0);
    for (int32_t& b : found) b = int32_t(uint32_t(b) * uint32_t(steps));
    return found;
}

void check_neurons(const NeuronSpec& spec) {
    require_size(spec.steps);
    require(spec.substeps >= 1 && spec.steps % spec.substeps == 0 && spec.levels >= 1,
            "steps, sub-steps or levels are out of range");
    require(spec.leak >= 0 && spec.leak <= 4 * LEAK_ONE, "the leak is out of range");
    require(spec.reset == Reset::Subtract || spec.substeps == 1,
            "neurons with sub-steps have no other reset");
}

void check_synapse(const SynapseSpec& spec, const Tensor& in) {
    require_size(spec.channels_out);
    for (const Extent extent : {spec.kernel, spec.stride, spec.dilation}) require_extent(extent, 1);
    require_extent(spec.padding, 0);
    require(
        spec.groups >= 1 && in.channels % spec.groups == 0 && spec.channels_out % spec.groups == 0,
        "groups do not divide the channels");
    require(spec.exponent >= 0 && spec.exponent < 32, "a weight exponent is out of range");
}

void check_slots(const Geometry& geometry, int channels) {
    const uint64_t places = uint64_t(geometry.columns.size()) * uint64_t(geometry.kernel.y);
    require(places <= uint64_t(MAX_SIZE) && places * uint64_t(channels) < MAX_SLOTS,
            "a synapse is too large");
}

// Tiles suit the dense path unless few slots lie side by side in an image: the rest of a product
// would multiply zeros. A product, with its share of storing the sums, takes about twice as long as
// one in a long sum.
QuadOrder quad_order(const Kernels& kernels, const SynapseSpec& spec, int channels_in) {
    if (kernels.dense_max == 0) return QuadOrder::None;
    if (!kernels.multiply) return kernels.dot_slots == QUAD ? QuadOrder::Rows : QuadOrder::Pairs;
    const int run_slots = channels_in / spec.groups * spec.kernel.x;
    const int runs = spec.kernel.y, products = runs * ((run_slots + DEPTH - 1) / DEPTH);
    const double cycles =
        2.0 * products * kernels.costs.tile_product * LANES / TILE_SIZE / TILE_SIZE;
    return runs * run_slots * kernels.costs.dense_slot > cycles ? QuadOrder::Tiles
                                                                : QuadOrder::Rows;
}

}  // namespace

// --------------------------------------------------------------------------------------------------
// tensors and layers

View Tensor::canonical(View view) const {
    if (view > View::Blocks && steps_of(View::Blocks) == 1) view = View::Blocks;
    if (view == View::Blocks && substeps == 1) view = View::Steps;
    return view;
}

int64_t Tensor::max_count(View view) const {
    if (view == View::Compact) return std::min<int64_t>(max * steps, MAX_BYTE);
    return max * (steps / steps_of(view));
}

Format Tensor::format(View view) const {
    if (view == View::Compact) return Format::Packed;
    const int64_t span = steps / steps_of(view);
    const Format format = format_of(min * span, max * span);
    return packed && format == Format::Counts ? Format::Packed : format;
}

size_t SynapticLayer::weight_bytes() const {
    size_t bytes = 0;
    for (const Synapse& synapse : synapses)
        bytes += synapse.weights.size + synapse.weights.quads_size +
                 synapse.taps.size() * sizeof(int32_t);
    return bytes;
}

size_t SynapticLayer::row_bytes() const {
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

int Model::add_tensor(const Tensor& tensor, Layer layer) {
    for (const int64_t size : {tensor.channels, tensor.height, tensor.width, tensor.steps})
        require_size(size);
    const int64_t pixels = int64_t(tensor.height) * tensor.width;
    const int64_t largest = std::max(-tensor.min, tensor.max);
    require(pixels <= MAX_SIZE && pixels * tensor.words() <= MAX_SIZE &&
                pixels * tensor.words() * tensor.steps <= MAX_SIZE * LANES,
            "a layer is too large");
    require(tensor.min <= tensor.max && largest * tensor.steps <= INT32_MAX,
            "spike counts of a window can exceed 32 bits");
    tensors.push_back(tensor);
    layers.push_back(std::move(layer));
    return int(tensors.size()) - 1;
}

void Model::note_use(int tensor, int reader, View view) {
    Tensor& read = tensors[tensor];
    read.last_use = std::max(read.last_use, reader);
    read.reads[int(view)] = true;
    read.others_read = read.others_read || view != View::Window;
    if (view == View::Window)
        read.reads[int(read.canonical(View::Blocks))] = true;  // summed from it
}

// Synaptic operations are counted by row, and by pixel where the columns of a row differ.
void Model::note_columns(const Synapse& synapse) {
    if (!synapse.counted) return;
    std::vector<int32_t>& columns = tensors[synapse.source].counted_columns;
    for (const auto [column, more] : synapse.geometry.other_columns)
        if (std::find(columns.begin(), columns.end(), column) == columns.end())
            columns.push_back(column);
}

// Whether a layer without synapses writes the sums of a window, but not the counts of its steps:
// where only the sums are read, and there is a kernel for them.
bool Model::can_write_window(const Layer& layer, const Tensor& out) const {
    if (!out.only_window_is_read()) return false;
    if (!layer.pool) return bool(layer.flatten);
    const Format in = tensors[layer.pool->source].format(View::Steps);
    return !layer.pool->max && out.format(View::Window) == Format::Counts &&
           (in == Format::Binary || in == Format::Counts);
}

// From the last layer to the first: what a layer without synapses reads depends on its readers.
// Tensor i is the output of layer i.
void Model::note_uses() {
    for (int reader = int(layers.size()) - 1; reader >= 0; --reader) {
        const Layer& layer = layers[reader];
        if (layer.synaptic) {
            for (const Synapse& synapse : layer.synaptic->synapses) {
                note_use(synapse.source, reader, synapse.view);
                note_columns(synapse);
            }
            continue;
        }
        Tensor& out = tensors[reader];
        out.writes_window = can_write_window(layer, out);
        if (out.writes_window)
            out.reads[int(View::Blocks)] = false;  // the window is not summed from it
        if (layer.pool) note_use(layer.pool->source, reader, View::Steps);
        if (layer.flatten)
            note_use(layer.flatten->source, reader, out.writes_window ? View::Window : View::Steps);
    }
}

// --------------------------------------------------------------------------------------------------
// layers without synapses

int Model::add_input(int channels, int height, int width, int steps, int64_t min, int64_t max) {
    require(tensors.empty(), "a model has one input, its first layer");
    const Tensor input{.channels = channels,
                       .height = height,
                       .width = width,
                       .steps = steps,
                       .substeps = 1,
                       .min = std::min<int64_t>(min, 0),
                       .max = std::max<int64_t>(max, 0),
                       .packed = channels <= PACKED_CHANNELS};
    return add_tensor(input, Layer{});
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
    const Tensor out{.channels = in.channels,
                     .height = geometry.height_out,
                     .width = geometry.width_out,
                     .steps = in.steps,
                     .substeps = in.substeps,
                     .min = in.min * area,
                     .max = in.max * area};
    Layer layer;
    layer.pool = Pool{source_, int(tensors.size()), kernel, stride, padding, max};
    return add_tensor(out, std::move(layer));
}

int Model::add_flatten(int source_) {
    const Tensor& in = source(source_);
    require_size(int64_t(in.channels) * in.height * in.width);
    const Tensor out{.channels = in.channels * in.height * in.width,
                     .height = 1,
                     .width = 1,
                     .steps = in.steps,
                     .substeps = in.substeps,
                     .min = in.min,
                     .max = in.max};
    Layer layer;
    layer.flatten = Flatten{source_, int(tensors.size())};
    return add_tensor(out, std::move(layer));
}

// --------------------------------------------------------------------------------------------------
// layers with synapses

Synapse Model::make_synapse(const SynapseSpec& spec, View view) const {
    const Tensor& in = source(spec.source);
    check_synapse(spec, in);
    Synapse synapse{.source = spec.source,
                    .view = in.canonical(view),
                    .geometry = Geometry(spec.kernel, spec.stride, spec.padding, spec.dilation,
                                         in.height, in.width),
                    .channels_in = in.channels,
                    .fan_out = spec.channels_out / spec.groups,
                    .exponent = spec.exponent,
                    .counted = spec.counted,
                    .streamed = false,
                    .weights = {},
                    .image = {},
                    .in_place = false,
                    .offsets = {},
                    .taps = {}};
    check_slots(synapse.geometry, in.channels);
    if (spec.groups == in.channels && spec.groups == spec.channels_out)
        synapse.taps = channelwise_taps(spec);
    else
        synapse.weights = PackedWeights::pack(
            spec.weight, spec.channels_out, in.channels, spec.groups, spec.kernel.y, spec.kernel.x,
            quad_order(*kernels, spec, in.channels), spec.stride.x == 1 && spec.dilation.x == 1);
    if (synapse.weights.tiled()) {
        synapse.image.emplace(synapse.geometry, in.channels, in.steps_of(synapse.view));
        for (const Slice& slice : synapse.weights.slices)
            synapse.offsets.push_back(synapse.image->offsets(synapse.geometry, slice));
    }
    return synapse;
}

SynapticLayer Model::connect(const std::vector<SynapseSpec>& specs, View view) const {
    require(!specs.empty(), "a layer has no synapse");
    SynapticLayer layer;
    for (const SynapseSpec& spec : specs) {
        Synapse synapse = make_synapse(spec, view);
        const Geometry& geometry = synapse.geometry;
        const int blocks = tensors[spec.source].steps_of(synapse.view);
        if (layer.synapses.empty()) {
            layer.channels = spec.channels_out;
            layer.height = geometry.height_out;
            layer.width = geometry.width_out;
            layer.blocks = blocks;
        }
        require(layer.channels == spec.channels_out && layer.height == geometry.height_out &&
                    layer.width == geometry.width_out && layer.blocks == blocks,
                "synapses that are summed differ in shape");
        for (const Slice& slice : synapse.weights.slices)
            layer.slices_share_inputs &= slice.channels == synapse.channels_in;
        layer.synapses.push_back(std::move(synapse));
    }
    return layer;
}

int Model::add_neurons(const std::vector<SynapseSpec>& specs, const NeuronSpec& spec) {
    check_neurons(spec);
    const int blocks = blocks_of(tensors, specs);
    // Where all columns of Ω are equal, k may be summed over the window before the synapses.
    const View view =
        is_uniform(spec.omega, spec.steps, blocks) ? view_of_sums(tensors, specs) : View::Blocks;
    SynapticLayer layer = connect(specs, view);
    layer.bias = bias_of_block(spec.bias, layer.channels, view == View::Window ? blocks : 1);
    layer.threshold = padded(spec.threshold, layer.channels, 1);
    layer.v0 = padded(spec.v0, layer.channels, 0);
    for (const int32_t threshold : layer.threshold)
        require(threshold >= 1, "a threshold is below 1");
    layer.steps = spec.steps;
    layer.substeps = spec.substeps;
    layer.levels = spec.levels;
    layer.leak = spec.leak;
    layer.reset = spec.reset;
    if (spec.floor) layer.floor = padded(spec.floor, layer.channels, 0);
    set_terms(layer, spec.omega, blocks);
    layer.drive = drive_of(layer);
    if (counts_follow(layer)) layer.window_thresholds = window_thresholds(layer);
    if (!layer.window_thresholds.empty()) layer.narrow_windows = narrow_windows(layer);
    layer.out = int(tensors.size());
    const Tensor out{.channels = layer.channels,
                     .height = layer.height,
                     .width = layer.width,
                     .steps = spec.steps,
                     .substeps = spec.substeps,
                     .min = 0,
                     .max = spec.levels};
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
    const View view = summable ? view_of_sums(tensors, specs) : View::Blocks;
    SynapticLayer layer = connect(specs, view);
    require(layer.channels == channels && layer.height == 1 && layer.width == 1,
            "a read-out is flat");
    layer.bias = bias_of_block(bias, channels, view == View::Window ? blocks : 1);
    Layer holder;
    holder.synaptic = std::move(layer);
    layers.push_back(std::move(holder));
    ++synaptic_layers;
    note_uses();
    gather_all_weights();
    choose_images_in_place();
    choose_windows_fired_at_once();
    note_streamed_weights();
    finished = true;
}

// Counts whose channels fill their words lie in memory as in an image. The first synapse whose
// image holds all inputs decides where.
void Model::choose_images_in_place() {
    for (Layer& layer : layers) {
        if (!layer.synaptic) continue;
        for (Synapse& synapse : layer.synaptic->synapses) {
            Tensor& source = tensors[synapse.source];
            const Layer& writer = layers[synapse.source];
            if (!synapse.image || !synapse.image->holds_all_inputs() ||
                source.format(synapse.view) != Format::Counts || source.channels % LANES ||
                !(writer.synaptic || writer.pool))
                continue;
            auto& image = source.images[int(synapse.view)];
            if (!image) image = synapse.image;
            synapse.in_place = image->has_same_places(*synapse.image);
        }
    }
}

// Only a layer whose single steps nobody reads fires windows at once.
void Model::choose_windows_fired_at_once() {
    for (Layer& layer : layers)
        if (layer.synaptic && !layer.synaptic->is_readout() &&
            !tensors[layer.synaptic->out].only_window_is_read())
            layer.synaptic->window_thresholds.clear();
}

// Small weights are left out: their paths are chosen row by row.
void Model::note_streamed_weights() {
    size_t bytes = 0;
    for (const Layer& layer : layers)
        if (layer.synaptic) bytes += layer.synaptic->row_bytes();
    if (bytes <= cache_bytes) return;
    for (Layer& layer : layers)
        if (layer.synaptic)
            for (Synapse& synapse : layer.synaptic->synapses)
                synapse.streamed = synapse.weights.size > MIXED_BYTES;
}

void Model::gather_all_weights() {
    std::vector<PackedWeights*> all;
    for (Layer& layer : layers)
        if (layer.synaptic)
            for (Synapse& synapse : layer.synaptic->synapses) all.push_back(&synapse.weights);
    weights_ = gather_weights(all);
}

}  // namespace lmht
