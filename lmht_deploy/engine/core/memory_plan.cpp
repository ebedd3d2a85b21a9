#include "memory_plan.hpp"

#include <algorithm>
#include <cstdio>

namespace lmht {
namespace {

// Where the window is written itself, only the mask of the single steps is kept.
SpikesLayout layout_of(const Tensor& tensor, View view, Layout& layout) {
    SpikesLayout found{};
    Spikes& shape = found.shape;
    shape.steps = tensor.steps_of(view);
    shape.height = tensor.height;
    shape.width = tensor.width;
    shape.channels = tensor.channels;
    shape.words = tensor.words();
    shape.close_gaps();
    const std::optional<ImageLayout>& image = tensor.images[int(view)];
    if (image) {
        shape.rows = image->rows();
        shape.pitch = image->pitch();
    }
    shape.format =
        tensor.writes_window && view == View::Steps ? Format::Binary : tensor.format(view);
    const size_t words = shape.all_words();
    found.mask = layout.add<uint64_t>(words);
    const size_t value_bytes[] = {0, sizeof(uint64_t), LANES,
                                  LANES * sizeof(int32_t)};  // by format
    found.values =
        layout.add<unsigned char>(image ? image->bytes() : words * value_bytes[int(shape.format)]);
    if (image) found.values.bytes += image->first_pixel();
    return found;
}

TallyLayout tally_layout(const Tensor& tensor, Layout& layout) {
    const size_t height = tensor.height, pixels = height * tensor.width;
    TallyLayout found{};
    found.columns = &tensor.counted_columns;
    found.events = layout.add<int64_t>(pixels);
    const bool binary = tensor.format(View::Steps) == Format::Binary;
    found.spikes = binary ? found.events : layout.add<int64_t>(pixels);
    found.row_events = layout.add<int64_t>(height);
    found.row_spikes = layout.add<int64_t>(height);
    found.row_shared = layout.add<int64_t>(height * (tensor.steps / 2));
    found.row_active_steps = layout.add<uint64_t>(height);
    found.row_compact = layout.add<uint64_t>(height);
    found.row_active[int(View::Steps)] = found.row_events;
    for (const View view : {View::Blocks, View::Window, View::Compact}) {
        const View same = tensor.canonical(view);
        found.row_active[int(view)] =
            same == view ? layout.add<int64_t>(height) : found.row_active[int(same)];
    }
    return found;
}

// Entries per slot that the lists of a block can need, and the number of lists.
struct ListSizes {
    size_t entries_per_slot, lists;
};

ListSizes list_sizes(Format format, int blocks) {
    if (format == Format::Counts || format == Format::Packed)
        return {MAX_TWICE, size_t(2) * blocks};
    return {1, size_t(blocks) + (format == Format::Binary ? blocks / 2 : 0)};
}

}  // namespace

Spikes SpikesLayout::in(unsigned char* block) const {
    Spikes spikes = shape;
    spikes.mask = mask.in(block);
    unsigned char* const at = values.in(block);
    if (shape.format == Format::Packed) spikes.packed = reinterpret_cast<uint64_t*>(at);
    if (shape.format == Format::Counts) spikes.count = at;
    if (shape.format == Format::Wide) spikes.wide = reinterpret_cast<int32_t*>(at);
    return spikes;
}

Tally TallyLayout::in(unsigned char* block) const {
    Tally tally;
    tally.columns = columns->data();
    tally.n_columns = int(columns->size());
    tally.events = events.in(block);
    tally.spikes = spikes.in(block);
    tally.row_events = row_events.in(block);
    tally.row_spikes = row_spikes.in(block);
    tally.row_shared = row_shared.in(block);
    tally.row_active_steps = row_active_steps.in(block);
    tally.row_compact = row_compact.in(block);
    for (size_t view = 0; view < row_active.size(); ++view)
        tally.row_active[view] = row_active[view].in(block);
    return tally;
}

TensorLayout::TensorLayout(const Tensor& tensor) {
    Layout layout;
    for (const View view : {View::Steps, View::Blocks, View::Window, View::Compact}) {
        if (const View same = tensor.canonical(view); same != view)
            views[int(view)] = views[int(same)];
        else if (tensor.reads[int(view)])
            views[int(view)] = layout_of(tensor, view, layout);
    }
    tally = tally_layout(tensor, layout);
    bytes = layout.bytes();
}

Activation TensorLayout::in(unsigned char* block) const {
    Activation activation;
    for (size_t view = 0; view < views.size(); ++view)
        if (views[view]) activation.views[view] = views[view]->in(block);
    activation.tally = tally.in(block);
    return activation;
}

RowLayout::RowLayout(const Model& model, const SynapticLayer& layer) {
    Layout layout;
    for (const Synapse& synapse : layer.synapses) add_lists(model, layer, synapse, layout);
    bytes = layout.bytes();
}

void RowLayout::add_lists(const Model& model, const SynapticLayer& layer, const Synapse& synapse,
                          Layout& layout) {
    Lists& lists = synapses.emplace_back();
    lists.path = synapse.channelwise() ? Path::Channelwise : Path::Ones;
    if (synapse.channelwise()) return;
    const Format format = model.tensors[synapse.source].format(synapse.view);
    const auto [entries, n] = list_sizes(format, layer.blocks);
    lists.positions = int(synapse.geometry.columns.size());
    const size_t slots =
        size_t(lists.positions) * synapse.geometry.kernel.y * synapse.weights.max_channels();
    lists.row_pitch = slots * entries + LIST_SLACK;
    lists.rows = layout.add<uint32_t>(lists.row_pitch * n);
    lists.starts = layout.add<uint32_t>(size_t(lists.positions + 1) * n);
    if (format != Format::Binary)
        lists.values = layout.add<int32_t>(lists.row_pitch * layer.blocks);
    // A store of a whole word of channels may spill over what follows the values.
    if (!synapse.image) lists.dense = layout.add<uint8_t>(slots * layer.blocks + LANES);
}

void RowLayout::bind(unsigned char* rows, int i, PreparedRow& row) const {
    unsigned char* const at = rows + i * bytes;
    row.inputs.resize(synapses.size());
    for (size_t s = 0; s < synapses.size(); ++s) {
        const Lists& lists = synapses[s];
        RowInputs& inputs = row.inputs[s] = {};
        inputs.path = lists.path;
        if (lists.path == Path::Channelwise) continue;
        inputs.row_pitch = lists.row_pitch;
        inputs.positions = lists.positions;
        inputs.rows = lists.rows.in(at);
        inputs.starts = lists.starts.in(at);
        if (lists.values) inputs.values = lists.values->in(at);
        if (lists.dense) inputs.dense = lists.dense->in(at);
    }
}

Order order_of(const SynapticLayer& layer, int threads, bool tiles, size_t cache_bytes) {
    if (layer.is_readout() || layer.words() == 1 || !layer.slices_share_inputs) return Order::Rows;
    if (tiles && layer.width * layer.blocks < 2 * TILE_SIZE) return Order::Slices;
    return layer.row_bytes() > cache_bytes || layer.height < 2 * threads ? Order::Slices
                                                                         : Order::Rows;
}

size_t place(std::vector<Buffer>& buffers) {
    size_t total = 0;
    for (size_t i = 0; i < buffers.size(); ++i) {
        Buffer& buffer = buffers[i];
        std::vector<const Buffer*> others;
        for (size_t j = 0; j < i; ++j)
            if (buffer.overlaps_in_time(buffers[j])) others.push_back(&buffers[j]);
        std::sort(others.begin(), others.end(),
                  [](const Buffer* a, const Buffer* b) { return a->offset < b->offset; });
        for (const Buffer* other : others) {
            if (other->offset >= buffer.offset + buffer.bytes) break;
            buffer.offset = std::max(buffer.offset, other->offset + other->bytes);
        }
        total = std::max(total, buffer.offset + buffer.bytes);
    }
    return total;
}

MemoryPlan::MemoryPlan(const Model& model, int threads) {
    plan_tensors(model);
    plan_layers(model, threads);
    plan_lists(model, threads);
}

// Tensor i is the output of layer i.
void MemoryPlan::plan_tensors(const Model& model) {
    const int layers_end = int(model.layers.size());
    for (size_t i = 0; i < model.tensors.size(); ++i) {
        const Tensor& tensor = model.tensors[i];
        const Layer& layer = model.layers[i];
        tensors.emplace_back(tensor);
        // The input and a Flatten write only active entries and rely on silent ones being zero. No
        // other layer may write there, so their memory is in use during all layers.
        const bool always = !layer.synaptic && !layer.pool;
        const std::string name = "output of layer " + std::to_string(i);
        buffers.push_back({name, tensors.back().bytes, always ? 0 : int(i),
                           always ? layers_end : tensor.last_use});
    }
    bytes = place(buffers);
}

void MemoryPlan::plan_layers(const Model& model, int threads) {
    for (const Layer& layer : model.layers) {
        LayerPlan& plan = layers.emplace_back();
        if (!layer.synaptic) continue;
        plan.order = order_of(*layer.synaptic, threads, model.kernels->multiply, model.cache_bytes);
        plan.row = RowLayout(model, *layer.synaptic);
        plan_tiles(*layer.synaptic, threads, plan);
        plan.rows = plan.order == Order::Slices ? layer.synaptic->height : plan.tiles.rows;
        max_synapses = std::max(max_synapses, layer.synaptic->synapses.size());
        max_paths = std::max(max_paths, layer.synaptic->synapses.size() * layer.synaptic->words());
        max_rows = std::max(max_rows, size_t(plan.rows));
    }
}

void MemoryPlan::plan_tiles(const SynapticLayer& layer, int threads, LayerPlan& plan) {
    Layout images;
    plan.tiles = TileShape(layer, threads);
    for (const Synapse& synapse : layer.synapses) {
        const bool own = synapse.image && !synapse.in_place;
        plan.images.push_back(images.add<uint8_t>(own ? synapse.image->bytes() : 0));
        auto& tiling = plan.tilings.emplace_back();
        if (!synapse.image) continue;
        tiling.emplace(layer, *synapse.image, plan.tiles);
        const size_t pixels = tiling->pixels(layer.blocks);
        plan.sums = std::max(plan.sums, pixels * LANES);
        max_tiles = std::max(max_tiles, pixels);
    }
    plan.image_bytes = images.bytes();
}

void MemoryPlan::plan_lists(const Model& model, int threads) {
    size_t lists[2] = {}, currents = 0, sums = 0, all_images = 0;  // lists by order
    for (size_t i = 0; i < layers.size(); ++i) {
        if (!model.layers[i].synaptic) continue;
        const SynapticLayer& layer = *model.layers[i].synaptic;
        const int order = int(layers[i].order);
        lists[order] = std::max(lists[order], layers[i].row.bytes * layers[i].rows);
        all_images = std::max(all_images, layers[i].image_bytes);
        currents = std::max(currents, layer.currents_of_a_row() * sizeof(int32_t));
        sums = std::max(sums, layers[i].sums * layer.synapses.size() * sizeof(int32_t));
    }
    row_lists = {append("lists of all rows", lists[int(Order::Slices)])};
    images = {append("images of the inputs", all_images)};
    for (int thread = 0; thread < threads; ++thread) {
        const std::string of = " of thread " + std::to_string(thread);
        ThreadPlan& plan = this->threads.emplace_back();
        plan.currents = {append("currents" + of, currents)};
        plan.lists = {append("lists" + of, lists[int(Order::Rows)])};
        plan.sums = {append("sums" + of, sums)};
    }
}

// A buffer that is in use during all layers, behind all others. Returns its offset.
size_t MemoryPlan::append(const std::string& name, size_t size) {
    const size_t rounded = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    buffers.push_back({name, rounded, 0, int(layers.size()), bytes});
    bytes += rounded;
    return buffers.back().offset;
}

std::string to_string(const MemoryPlan& plan) {
    std::string table = "    offset       bytes  layers    buffer\n";
    char line[160];
    for (const Buffer& buffer : plan.buffers) {
        std::snprintf(line, sizeof line, "%10zu  %10zu  %3d..%-3d  %s\n", buffer.offset,
                      buffer.bytes, buffer.first_layer, buffer.last_layer, buffer.name.c_str());
        table += line;
    }
    return table + std::to_string(plan.bytes) + " bytes\n";
}

}  // namespace lmht
