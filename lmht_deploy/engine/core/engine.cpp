#include "engine.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <utility>

namespace lmht {
namespace {

constexpr size_t CACHE_BYTES =
    size_t(1) << 20;  // weights of a layer that stay in a core's cache from row to row
constexpr size_t MIXED_BYTES =
    size_t(1) << 18;  // weights up to which rows may differ in their path, and so touch both forms
constexpr int TASKS = 8;       // a thread and layer, where the layer runs slice by slice
constexpr int MOST_TWICE = 2;  // entries a place that the lists of Path::Graded have room for

size_t rounded(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

// Hands out consecutive pieces of memory; with no memory it only measures.
class Cursor {
public:
    explicit Cursor(unsigned char* base) : base_(base) {}

    template <class T>
    T* take(size_t n) {
        T* piece = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
        used_ += rounded(n * sizeof(T));
        return piece;
    }

    size_t used() const { return used_; }

private:
    unsigned char* base_;
    size_t used_ = 0;
};

void place(Spikes& spikes, const Tensor& tensor, View view, Cursor& cursor) {
    spikes = {tensor.steps_of(view), tensor.height,  tensor.width,
              tensor.channels,       tensor.words(), tensor.format(view)};
    spikes.mask = cursor.take<uint64_t>(spikes.all_words());
    if (spikes.format == Format::Few) spikes.few = cursor.take<uint64_t>(spikes.all_words());
    if (spikes.format == Format::Counts)
        spikes.count = cursor.take<uint8_t>(spikes.all_words() * LANES);
    if (spikes.format == Format::Wide)
        spikes.wide = cursor.take<int32_t>(spikes.all_words() * LANES);
}

// First-fit placement of buffers by life time: those that are never alive together may share
// memory.
struct Buffer {
    size_t bytes;
    int first, last;  // layers during which it is alive
    size_t offset = 0;
};

size_t place_buffers(std::vector<Buffer>& buffers) {
    size_t total = 0;
    for (size_t i = 0; i < buffers.size(); ++i) {
        Buffer& buffer = buffers[i];
        std::vector<const Buffer*> others;
        for (size_t j = 0; j < i; ++j)
            if (buffers[j].first <= buffer.last && buffer.first <= buffers[j].last)
                others.push_back(&buffers[j]);
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

int32_t value_at(const Spikes& spikes, size_t word, int bit) {
    if (!(spikes.mask[word] >> bit & 1)) return 0;
    const size_t at = word * LANES + bit;
    if (spikes.format == Format::Few) return int32_t(spikes.few[word] >> (8 * bit) & 255);
    return spikes.format == Format::Wide     ? spikes.wide[at]
           : spikes.format == Format::Counts ? spikes.count[at]
                                             : 1;
}

void put_value(const Spikes& spikes, size_t word, int bit, int32_t value) {
    const size_t at = word * LANES + bit;
    spikes.mask[word] |= uint64_t(1) << bit;
    if (spikes.format == Format::Wide) spikes.wide[at] = value;
    if (spikes.format == Format::Counts) spikes.count[at] = uint8_t(value);
    if (spikes.format == Format::Few) spikes.few[word] |= uint64_t(value) << (8 * bit);
}

// Silences spikes, touching only those that are not silent.
void clear(const Spikes& spikes) {
    for (size_t word = 0; word < spikes.all_words(); ++word) {
        if (!std::exchange(spikes.mask[word], 0)) continue;
        if (spikes.format == Format::Few) spikes.few[word] = 0;
        if (spikes.format == Format::Wide)
            std::memset(spikes.wide + word * LANES, 0, LANES * sizeof(int32_t));
        if (spikes.format == Format::Counts) std::memset(spikes.count + word * LANES, 0, LANES);
    }
}

// Windows [steps][C][H][W], channels first, to spikes with channels last.
void encode_any(const int32_t* window, const Spikes& spikes) {
    clear(spikes);
    const size_t area = size_t(spikes.height) * spikes.width;
    for (int step = 0; step < spikes.steps; ++step)
        for (int c = 0; c < spikes.channels; ++c, window += area) {
            size_t word = spikes.word(step, 0, 0) + c / LANES;
            for (size_t place = 0; place < area; ++place, word += spikes.words)
                if (window[place]) put_value(spikes, word, c % LANES, window[place]);
        }
}

// The same for a row of a few channels: every value is written, for events come too irregularly to
// be branched upon.
void encode_row_of_few(const int32_t* window, const Spikes& spikes, int y) {
    const size_t area = size_t(spikes.height) * spikes.width;
    for (int step = 0; step < spikes.steps; ++step) {
        const int32_t* const row =
            window + size_t(step) * spikes.channels * area + size_t(y) * spikes.width;
        uint64_t *const mask = spikes.mask + spikes.word(step, y, 0), *const few =
                                                                          spikes.few +
                                                                          spikes.word(step, y, 0);
        for (int x = 0; x < spikes.width; ++x) {
            few[x] = uint32_t(row[x]);
            mask[x] = uint32_t(row[x] != 0);
        }
        for (int c = 1; c < spikes.channels; ++c)
            for (int x = 0; x < spikes.width; ++x) {
                few[x] |= uint64_t(uint32_t(row[c * area + x])) << (8 * c);
                mask[x] |= uint64_t(uint32_t(row[c * area + x] != 0)) << c;
            }
    }
}

// Calls visit(row) for every input row under output row y.
template <class Visit>
void for_rows_under(const Geometry& geometry, int y, Visit visit) {
    for (int ky = 0; ky < geometry.kernel.y; ++ky)
        if (const int row = geometry.input_row(y, ky); row >= 0 && row < geometry.height_in)
            visit(row);
}

// One step of `spikes`, as spikes of one step.
Spikes step_of(Spikes spikes, int step) {
    const size_t word = spikes.word(step, 0, 0);
    spikes.steps = 1;
    spikes.mask += word;
    if (spikes.few) spikes.few += word;
    if (spikes.count) spikes.count += word * LANES;
    if (spikes.wide) spikes.wide += word * LANES;
    return spikes;
}

}  // namespace

// --------------------------------------------------------------------------------------------------
// memory

Engine::Engine(std::shared_ptr<const Model> model, int threads)
    : model_(std::move(model)), workers_(threads) {
    activations_.resize(model_->tensors.size());
    scratch_.resize(threads);
    plan_memory();
}

// Lists (or dense values) of one output row; `at` null measures. Shared by all slices that read the
// same channels.
size_t Engine::place_store(const Synaptic& layer, RowStore& store, unsigned char* at) const {
    Cursor cursor(at);
    store.inputs.resize(layer.synapses.size());
    store.synapses.resize(layer.synapses.size());
    for (size_t s = 0; s < layer.synapses.size(); ++s) {
        const Synapse& synapse = layer.synapses[s];
        RowInputs& inputs = store.inputs[s] = {};
        if (synapse.channelwise()) {
            inputs.path = Path::Channelwise;
            continue;
        }
        const Tensor& source = model_->tensors[synapse.source];
        int channels = 0;
        for (const Slice& slice : synapse.weights.slices)
            channels = std::max(channels, slice.channels);
        const Format format = source.format(synapse.view);
        const bool counts = format == Format::Counts || format == Format::Few;
        inputs.positions = int(synapse.geometry.columns.size());
        inputs.row_pitch = size_t(inputs.positions) * synapse.geometry.kernel.y * channels *
                               (counts ? MOST_TWICE : 1) +
                           LIST_SLACK;
        const size_t lists = layer.blocks + (counts                     ? layer.blocks
                                             : format == Format::Binary ? layer.blocks / 2
                                                                        : 0);
        inputs.rows = cursor.take<uint32_t>(inputs.row_pitch * lists);
        inputs.starts = cursor.take<uint32_t>(size_t(inputs.positions + 1) * lists);
        if (format != Format::Binary)
            inputs.values = cursor.take<int32_t>(inputs.row_pitch * layer.blocks);
        inputs.dense =
            reinterpret_cast<uint8_t*>(inputs.rows);  // a row is listed or dense, never both
    }
    return cursor.used();
}

bool Engine::by_slices(const Synaptic& layer) const {
    if (layer.out < 0 || layer.words() == 1 || !layer.one_range()) return false;
    return layer.row_bytes() > CACHE_BYTES || layer.height < 2 * workers_.threads();
}

void Engine::plan_memory() {
    const auto& tensors = model_->tensors;
    std::vector<Buffer> buffers;
    const auto place_all = [&](Activation& activation, const Tensor& tensor, unsigned char* base) {
        Cursor cursor(base);
        for (const View view : {View::Steps, View::Blocks, View::Window}) {
            if (const View same = tensor.same(view); same != view)
                activation.views[int(view)] = activation.views[int(same)];
            else if (tensor.reads[int(view)])
                place(activation.views[int(view)], tensor, view, cursor);
        }
        const size_t height = tensor.height, pixels = height * tensor.width;
        Tally& tally = activation.tally;
        tally.events = cursor.take<int64_t>(pixels);
        tally.total = tensor.format(View::Steps) == Format::Binary
                          ? tally.events
                          : cursor.take<int64_t>(pixels);  // one and the same
        tally.row_events = cursor.take<int64_t>(height);
        tally.row_total = cursor.take<int64_t>(height);
        tally.row_shared = cursor.take<int64_t>(height * (tensor.steps / 2));
        tally.row_steps = cursor.take<uint64_t>(height);
        for (const View view : {View::Steps, View::Blocks, View::Window}) {
            const View same = tensor.same(view);
            tally.row_places[int(view)] = same != view          ? tally.row_places[int(same)]
                                          : view == View::Steps ? tally.row_events
                                                                : cursor.take<int64_t>(height);
        }
        return cursor.used();
    };
    for (size_t i = 0; i < tensors.size(); ++i) {  // tensor i is what layer i puts out
        const Layer& layer = model_->layers[i];
        const bool sparsely_written =
            !layer.synaptic && !layer.pool;  // then what is silent stays so from window to window
        const size_t bytes = place_all(activations_[i], tensors[i], nullptr);
        buffers.push_back(sparsely_written ? Buffer{bytes, 0, int(tensors.size())}
                                           : Buffer{bytes, int(i), tensors[i].last_use});
    }

    size_t row_bytes = 0, currents_bytes = 0, most_rows = 0, most_synapses = 0, most_paths = 0;
    lists_bytes_ = 0;
    RowStore measured;
    for (const Layer& holder : model_->layers) {
        if (!holder.synaptic) continue;
        const Synaptic& layer = *holder.synaptic;
        const size_t store = place_store(layer, measured, nullptr);
        most_synapses = std::max(most_synapses, layer.synapses.size());
        most_paths = std::max(most_paths, layer.synapses.size() * layer.words());
        if (by_slices(layer)) {
            lists_bytes_ = std::max(lists_bytes_, store * layer.height);
            most_rows = std::max(most_rows, size_t(layer.height));
        } else {
            row_bytes = std::max(row_bytes, store);
        }
        currents_bytes = std::max(
            currents_bytes, rounded(size_t(layer.width) * layer.blocks * LANES * sizeof(int32_t)));
    }
    const size_t activation_bytes = place_buffers(buffers);
    arena_bytes_ = activation_bytes + lists_bytes_ + (row_bytes + currents_bytes) * scratch_.size();
    arena_ = aligned(arena_bytes_);
    for (size_t i = 0; i < tensors.size(); ++i)
        place_all(activations_[i], tensors[i], arena_.get() + buffers[i].offset);
    Cursor rest(arena_.get() + activation_bytes);
    lists_ = rest.take<unsigned char>(lists_bytes_);
    for (Scratch& scratch : scratch_) {
        scratch.currents = rest.take<int32_t>(currents_bytes / sizeof(int32_t));
        scratch.lists = rest.take<unsigned char>(row_bytes);
    }
    rows_.resize(most_rows);
    paths_.resize(most_paths);
    for (Scratch& scratch : scratch_) {  // so that no window allocates
        scratch.row.inputs.reserve(most_synapses);
        scratch.row.synapses.reserve(most_synapses);
    }
}

// --------------------------------------------------------------------------------------------------
// a window

void Engine::run(const int32_t* windows, int batch, const RunOutputs& outputs) {
    std::lock_guard lock(mutex_);
    const Tensor& input = model_->tensors[0];
    const size_t window = size_t(input.steps) * input.channels * input.height * input.width;
    for (int b = 0; b < batch; ++b) run_window({windows + b * window, 0}, b, outputs);
}

void Engine::run_window(Window window, int index, const RunOutputs& outputs) {
    const int neurons = model_->neuron_layers, synaptic = model_->synaptic_layers;
    int neuron_index = 0, synaptic_index = 0;
    for (size_t i = 0; i < model_->layers.size(); ++i) {
        const Layer& layer = model_->layers[i];
        const auto start = outputs.profile ? std::chrono::steady_clock::now()
                                           : std::chrono::steady_clock::time_point();
        run_layer(layer, window,
                  outputs.logits + (layer.synaptic ? size_t(index) * layer.synaptic->channels : 0));
        if (outputs.profile)
            note(outputs.profile[i], (std::chrono::steady_clock::now() - start).count());
        if (!layer.synaptic) continue;
        const Synaptic& it = *layer.synaptic;
        count_sops(it, outputs.sops + size_t(index) * synaptic + synaptic_index,
                   outputs.event_sops + size_t(index) * synaptic + synaptic_index);
        ++synaptic_index;
        if (it.out < 0) continue;
        count_spikes(it, outputs.spikes + size_t(index) * neurons + neuron_index,
                     outputs.events + size_t(index) * neurons + neuron_index);
        if (!outputs.traces.empty()) {
            const Tensor& tensor = model_->tensors[it.out];
            copy_trace(it.out, outputs.traces[neuron_index] + size_t(index) * tensor.steps *
                                                                  tensor.channels * tensor.height *
                                                                  tensor.width);
        }
        ++neuron_index;
    }
}

void Engine::run_layer(const Layer& layer, Window window, int64_t* logits) {
    if (layer.pool)
        run_pool(*layer.pool);
    else if (layer.flatten)
        run_flatten(*layer.flatten);
    else if (!layer.synaptic)
        encode(window.counts);
    else if (!window.counts && layer.synaptic->out == 1)
        run_kept(*layer.synaptic, window.first);
    else if (layer.synaptic->out < 0)
        run_readout(*layer.synaptic, logits);
    else
        run_neurons(*layer.synaptic);
}

void Engine::note(LayerProfile& profile, int64_t nanoseconds) {
    profile.nanoseconds += nanoseconds;
    for (Scratch& scratch : scratch_)
        for (int path = 0; path < PATHS; ++path)
            profile.rows[path] += std::exchange(scratch.rows[path], 0);
}

// Encodes `counts`, but for null, and calls finish(y) for every row.
template <class Finish>
void Engine::encode_rows(const int32_t* counts, const Spikes& spikes, Finish finish) {
    const bool few = spikes.format == Format::Few;
    if (counts && !few) encode_any(counts, spikes);
    workers_.run(spikes.height, [&](int y, int) {
        if (counts && few) encode_row_of_few(counts, spikes, y);
        finish(y);
    });
}

void Engine::encode(const int32_t* window) {
    const Spikes& spikes = activations_[0].views[int(View::Steps)];
    encode_rows(window, spikes, [&](int y) { finish_row(0, y); });
}

void Engine::finish_row(int tensor, int y) {
    Activation& activation = activations_[tensor];
    const Tensor& shape = model_->tensors[tensor];
    for (const View view : {View::Blocks, View::Window})
        if (shape.same(view) == view && shape.reads[int(view)])
            activation.tally.row_places[int(view)][y] = model_->kernels->sum_steps(
                activation.views[int(view) - 1], activation.views[int(view)], y);
    model_->kernels->tally(activation.views[int(View::Steps)], activation.tally, y);
}

void Engine::run_pool(const Pool& pool) {
    const Spikes& in = activations_[pool.source].views[int(View::Steps)];
    const Spikes& out = activations_[pool.out].views[int(View::Steps)];
    workers_.run(out.height, [&](int y, int) {
        model_->kernels->pool({&in, &out, pool.kernel.y, pool.kernel.x, pool.stride.x,
                               pool.padding.x, y * pool.stride.y - pool.padding.y, y, pool.max});
        finish_row(pool.out, y);
    });
}

void Engine::run_flatten(const Flatten& flatten) {
    const Spikes& in = activations_[flatten.source].views[int(View::Steps)];
    const Spikes& out = activations_[flatten.out].views[int(View::Steps)];
    clear(out);
    for (int step = 0; step < in.steps; ++step)
        for (int y = 0; y < in.height; ++y)
            for (int x = 0; x < in.width; ++x)
                for (int c = 0; c < in.channels; ++c)
                    if (const int32_t k =
                            value_at(in, in.word(step, y, x) + c / LANES, c % LANES)) {
                        const int to = (c * in.height + y) * in.width + x;
                        put_value(out, out.word(step, 0, 0) + to / LANES, to % LANES, k);
                    }
    finish_row(flatten.out, 0);
}

// --------------------------------------------------------------------------------------------------
// synapses

// What one spike has to do with it: the pixels that read it, along the row; with groups, the part
// of the channels in this slice.
double Engine::reads_of(const Synapse& synapse, const Slice& slice) const {
    const double far = synapse.weights.size > CACHE_BYTES ? model_->kernels->costs.far : 1;
    return synapse.geometry.mean_column_taps * slice.channels / synapse.channels_in * far;
}

// What it saves to list apart, for an output row, what the two steps of a pair share.
double Engine::saved_by_sharing(const Synapse& synapse, const Slice& slice, const Tally& tally,
                                int y, int pair, int pairs) const {
    const Costs& costs = model_->kernels->costs;
    int64_t shared = 0;
    for_rows_under(synapse.geometry, y,
                   [&](int row) { shared += tally.row_shared[row * pairs + pair]; });
    return double(shared) * reads_of(synapse, slice) * costs.add -
           synapse.geometry.width_out * costs.split;
}

// The cheapest way to add a synapse along some output rows, from the spikes that lie under them in
// this window: those of `tally`, of so many steps of the view.
Path Engine::choose_path(const Synapse& synapse, Range rows, const Slice& slice, const Tally& tally,
                         int steps) const {
    const Spikes& spikes = activations_[synapse.source].views[int(synapse.view)];
    if (spikes.format == Format::Wide) return Path::Weighted;
    const Geometry& geometry = synapse.geometry;
    const bool binary = spikes.format == Format::Binary;
    int64_t total = 0, places = 0, most_total = 0;
    double saved = 0;  // by sharing, of the pairs that do
    for (int y = rows.first; y < rows.last; ++y) {
        const int64_t before = total;
        for_rows_under(geometry, y, [&](int row) {
            total += tally.row_total[row];
            places += tally.row_places[int(synapse.view)][row];
        });
        most_total = std::max(most_total, total - before);
        for (int pair = 0; binary && pair < steps / 2; ++pair)
            saved += std::max(0.0, saved_by_sharing(synapse, slice, tally, y, pair, steps / 2));
    }
    const Costs& costs = model_->kernels->costs;
    const Tensor& tensor = model_->tensors[synapse.source];
    const int64_t most = tensor.high * (tensor.steps / tensor.steps_of(synapse.view));
    const double height = rows.last - rows.first, pixels = height * geometry.width_out * steps;
    const int64_t row_places = int64_t(geometry.columns.size()) * geometry.kernel.y;
    const double reads = reads_of(synapse, slice);
    const bool fits = binary || most / 2 <= MOST_TWICE ||
                      most_total / 2 <= MOST_TWICE * row_places * slice.channels;
    const double graded = (double(places) + double(total - places) / 3) *
                          costs.graded;  // of k = 1, 2, 3, 4: 1, 1, 2, 2 rows
    const double added = fits ? (binary ? double(total) * costs.add : graded) * reads : 1e300;
    const double weighted = binary ? 1e300 : double(places) * reads * costs.weighted;
    const Path listed = added > weighted ? Path::Weighted
                        : saved > 0      ? Path::Shared
                        : binary         ? Path::Ones
                                         : Path::Graded;
    if (most > model_->kernels->dense_most || slice.channel0 % LANES) return listed;
    const double words =
        height * double(row_places) * ((slice.channels + LANES - 1) / LANES) * steps;
    const double lists =
        pixels * costs.pixel +
        words * costs.word / double(synapse.weights.slices.size());  // built once for all slices
    const double dense =
        pixels * geometry.kernel.x * geometry.kernel.y * slice.channels * costs.dense;
    return std::min(added, weighted) + lists - saved <= dense ? listed : Path::Dense;
}

// The path of every synapse whose rows have to agree.
void Engine::choose_paths(const Synaptic& layer) {
    const int slices = layer.one_range() ? 1 : layer.words();
    for (int slice = 0; slice < slices; ++slice)
        for (size_t s = 0; s < layer.synapses.size(); ++s) {
            const Synapse& synapse = layer.synapses[s];
            if (synapse.weights.size <= MIXED_BYTES) continue;
            const Activation& source = activations_[synapse.source];
            paths_[slice * layer.synapses.size() + s] =
                choose_path(synapse, {0, layer.height}, synapse.weights.slices[slice], source.tally,
                            source.views[int(synapse.view)].steps);
        }
}

void Engine::prepare(const Synaptic& layer, int y, int slice, RowStore& store, int thread) {
    store.quiet = quiet_blocks(layer, y);
    for (size_t s = 0; s < layer.synapses.size(); ++s) {
        const Synapse& synapse = layer.synapses[s];
        RowInputs& inputs = store.inputs[s];
        const Activation& source = activations_[synapse.source];
        if (synapse.weights.size > MIXED_BYTES)
            inputs.path = paths_[slice * layer.synapses.size() + s];
        else if (!synapse.channelwise())
            inputs.path = choose_path(synapse, {y, y + 1}, synapse.weights.slices[slice],
                                      source.tally, source.views[int(synapse.view)].steps);
        ++scratch_[thread].rows[int(inputs.path)];
        if (!synapse.channelwise())
            gather_all(source.views[int(synapse.view)], source.tally, synapse, y, slice, inputs);
    }
}

// Whether nothing fires under an output row in a block.
bool Engine::silent(const Synapse& synapse, const Tally& tally, int y, int block) const {
    const Tensor& tensor = model_->tensors[synapse.source];
    const int span = tensor.steps / tensor.steps_of(synapse.view);
    uint64_t active = 0, steps = 0;
    for_rows_under(synapse.geometry, y, [&](int row) { active |= tally.row_steps[row]; });
    for (int step = block * span; step < (block + 1) * span; ++step) steps |= step_bit(step);
    return !(active & steps);
}

// Blocks of a row before the first one with a spike, in any of its synapses.
int Engine::quiet_blocks(const Synaptic& layer, int y) const {
    for (int block = 0; block < layer.blocks; ++block)
        for (const Synapse& synapse : layer.synapses)
            if (!silent(synapse, activations_[synapse.source].tally, y, block)) return block;
    return layer.blocks;
}

// Fills the inputs of a row from all blocks of `source`, their path chosen. What is silent needs no
// search.
void Engine::gather_all(const Spikes& source, const Tally& tally, const Synapse& synapse, int y,
                        int slice, RowInputs& inputs) const {
    const int blocks = source.steps;
    const auto clear = [&](int list) {
        std::fill_n(inputs.starts + size_t(list) * (inputs.positions + 1), inputs.positions + 1, 0);
    };
    const auto list = [&](int block, int other) {
        if (inputs.path == Path::Dense || !silent(synapse, tally, y, block))
            return gather(source, {block, block, other, false}, synapse, y, slice, inputs);
        clear(block);
        if (inputs.path == Path::Graded) clear(blocks + block);
    };
    int block = 0;
    for (; inputs.path == Path::Shared && block + 1 < blocks; block += 2) {
        const int other = block + 1, both = blocks + block / 2;
        const bool share = saved_by_sharing(synapse, synapse.weights.slices[slice], tally, y,
                                            block / 2, blocks / 2) > 0;
        list(block, share ? other : block);
        list(other, share ? block : other);
        if (share)
            gather(source, {block, both, other, true}, synapse, y, slice, inputs);
        else
            clear(both);
    }
    for (; block < blocks; ++block) list(block, block);
}

void Engine::gather(const Spikes& source, Listed of, const Synapse& synapse, int y, int slice,
                    RowInputs& inputs) const {
    const Slice& range = synapse.weights.slices[slice];
    const Geometry& geometry = synapse.geometry;
    const GatherInputs gather{&source,
                              of,
                              geometry.input_row(y, 0),
                              geometry.dilation.y,
                              geometry.kernel.y,
                              geometry.columns.data(),
                              range.channel0,
                              range.channels,
                              range.pitch,
                              &inputs};
    if (inputs.path == Path::Dense)
        model_->kernels->fill(gather);
    else
        model_->kernels->list(gather);
}

void Engine::compute(const Synaptic& layer, int y, int slice, RowStore& store, int32_t* currents,
                     Ahead ahead) const {
    NeuronRow row = row_of(layer, y, slice, currents);
    connect(row, layer, y, slice, store);
    if (layer.out < 0) return model_->kernels->currents(row);
    row.quiet = store.quiet;
    row.ahead = ahead.from;
    row.ahead_bytes = ahead.bytes;
    model_->kernels->neurons(row);
}

// The synapses of a row, whose inputs are in `store`.
void Engine::connect(NeuronRow& of, const Synaptic& layer, int y, int slice,
                     RowStore& store) const {
    for (size_t s = 0; s < layer.synapses.size(); ++s) {
        const Synapse& synapse = layer.synapses[s];
        const Geometry& geometry = synapse.geometry;
        SynapseRow& row = store.synapses[s];
        row = {};
        row.inputs = &store.inputs[s];
        row.exponent = synapse.exponent;
        row.first = geometry.first.data();
        row.kernel_width = geometry.kernel.x;
        row.kernel_height = geometry.kernel.y;
        if (synapse.channelwise()) {
            row.source = &activations_[synapse.source].views[int(synapse.view)];
            row.taps = synapse.taps.data() + size_t(slice) * LANES;
            row.tap_pitch = layer.words() * LANES;
            row.first_row = geometry.input_row(y, 0);
            row.row_step = geometry.dilation.y;
            row.first_column = -geometry.padding.x;
            row.column_step = geometry.dilation.x;
            row.stride_x = geometry.stride.x;
        } else {
            const Slice& range = synapse.weights.slices[slice];
            row.weights = synapse.weights.bytes + range.offset;
            row.column_slots = geometry.kernel.y * range.channels;
            row.column_rows = geometry.kernel.y * range.pitch;
            if (synapse.weights.quads) row.quads = synapse.weights.quads + range.quads_offset;
        }
    }
    of.n_synapses = int(layer.synapses.size());
    of.synapses = store.synapses.data();
}

// A row but for its synapses.
NeuronRow Engine::row_of(const Synaptic& layer, int y, int slice, int32_t* currents) const {
    NeuronRow row{};
    row.width = layer.width;
    row.blocks = layer.blocks;
    const size_t lane = size_t(slice) * LANES;
    row.neurons.bias = layer.bias.data() + lane;
    row.currents = currents;
    if (layer.out < 0) return row;
    row.neurons = {layer.bias.data() + lane,
                   layer.threshold.data() + lane,
                   layer.v0.data() + lane,
                   layer.terms.data(),
                   layer.term_start.data(),
                   layer.steps,
                   layer.substeps,
                   layer.levels,
                   layer.leak,
                   layer.drive};
    row.out = &activations_[layer.out].views[int(View::Steps)];
    row.y = y;
    row.word = slice;
    return row;
}

void Engine::run_neurons(const Synaptic& layer) {
    choose_paths(layer);
    if (by_slices(layer))
        run_slices(layer);
    else
        run_rows(layer);
}

// Whether there are spikes enough for every weight of a synapse to be read about once: fetching
// them ahead is in vain else.
bool Engine::fetches_ahead(const Synaptic& layer) const {
    const Synapse& synapse = layer.synapses.front();
    const Activation& source = activations_[synapse.source];
    const Spikes& spikes = source.views[int(synapse.view)];
    const int64_t* const places = source.tally.row_places[int(synapse.view)];
    const int64_t reads =
        int64_t(spikes.channels) * synapse.geometry.stride.x * synapse.geometry.stride.y;
    return std::accumulate(places, places + spikes.height, int64_t(0)) >= reads;
}

// The weights that the layer after `layer` begins with: all of them, or the first slice where it
// runs slice by slice. How it will read them is a guess: as `layer` does, by `path`.
Engine::Ahead Engine::next_layer(const Synaptic& layer, Path path) const {
    for (size_t i = layer.out + 1; i < model_->layers.size(); ++i) {
        if (!model_->layers[i].synaptic) continue;
        const Synaptic& next = *model_->layers[i].synaptic;
        const PackedWeights& weights = next.synapses.front().weights;
        if (weights.slices.empty()) return {};
        Ahead ahead = weights_of(weights, 0, path);
        if (!by_slices(next)) ahead.bytes = std::min(weights.size, CACHE_BYTES);
        return ahead;
    }
    return {};
}

Engine::Ahead Engine::weights_of(const PackedWeights& weights, int slice, Path path) {
    const Slice& it = weights.slices[slice];
    if (path == Path::Dense && weights.quads)
        return {reinterpret_cast<const uint8_t*>(weights.quads) + it.quads_offset, it.quads_bytes};
    return {weights.bytes + it.offset, it.bytes};
}

// Row by row, all slices of a row at once: the weights stay in the cache.
void Engine::run_rows(const Synaptic& layer) {
    for (Scratch& scratch : scratch_) place_store(layer, scratch.row, scratch.lists);
    const bool one_range = layer.one_range(), ahead = fetches_ahead(layer);
    workers_.run(layer.height, [&](int y, int thread) {
        Scratch& scratch = scratch_[thread];
        for (int slice = 0; slice < layer.words(); ++slice) {
            if (slice == 0 || !one_range) prepare(layer, y, slice, scratch.row, thread);
            const Ahead next =
                ahead && slice == 0 ? next_layer(layer, scratch.row.inputs.front().path) : Ahead{};
            compute(layer, y, slice, scratch.row, scratch.currents, next.part(y, layer.height));
        }
        finish_row(layer.out, y);
    });
}

// Slice by slice, all rows of a slice at once: for weights that do not fit the cache, or few rows
// to share out. Threads take parts of a slice that are as large as sharing the work evenly allows,
// so that each needs few weights.
void Engine::run_slices(const Synaptic& layer) {
    const size_t bytes = place_store(layer, rows_[0], nullptr);
    workers_.run(layer.height, [&](int y, int thread) {
        place_store(layer, rows_[y], lists_ + y * bytes);
        prepare(layer, y, 0, rows_[y], thread);
    });
    const int slices = layer.words(), threads = workers_.threads();
    const bool ahead = fetches_ahead(layer);
    const PackedWeights* weights =
        ahead && !layer.synapses.front().channelwise() ? &layer.synapses.front().weights : nullptr;
    const Ahead following = ahead ? next_layer(layer, rows_[0].inputs.front().path) : Ahead{};
    const auto work = [&](int slice, int y, int thread) {
        RowStore& store = scratch_[thread].row;
        store.inputs = rows_[y].inputs;
        store.quiet = rows_[y].quiet;
        store.synapses.resize(store.inputs.size());
        Ahead next;
        if (slice + threads == slices) next = following;
        if (slice + threads < slices && weights)
            next = weights_of(*weights, slice + threads, store.inputs.front().path);
        compute(layer, y, slice, store, scratch_[thread].currents, next.part(y, layer.height));
    };
    const int parts =
        threads == 1 ? 1 : std::clamp(TASKS * threads / slices, 1, layer.height);  // of the rows
    workers_.run(slices * parts, [&](int task, int thread) {
        const int slice = task / parts, part = task % parts;
        for (int y = layer.height * part / parts; y < layer.height * (part + 1) / parts; ++y)
            work(slice, y, thread);
    });
    workers_.run(layer.height, [&](int y, int) { finish_row(layer.out, y); });
}

void Engine::run_readout(const Synaptic& layer, int64_t* logits) {
    choose_paths(layer);
    Scratch& scratch = scratch_[0];
    place_store(layer, scratch.row, scratch.lists);
    const bool one_range = layer.one_range();
    for (int slice = 0; slice < layer.words(); ++slice) {
        if (slice == 0 || !one_range) prepare(layer, 0, slice, scratch.row, 0);
        compute(layer, 0, slice, scratch.row, scratch.currents, {});
        for (int c = slice * LANES; c < std::min(layer.channels, (slice + 1) * LANES); ++c) {
            logits[c] = 0;
            for (int block = 0; block < layer.blocks; ++block)
                logits[c] += scratch.currents[block * LANES + c % LANES];
        }
    }
}

// --------------------------------------------------------------------------------------------------
// step by step

// The first layer alone reads the input, by one synapse, step by step.
bool Engine::by_steps(const Model& model) {
    int readers = 0;
    for (const Layer& layer : model.layers) {
        readers += (layer.pool && layer.pool->source == 0) ||
                   (layer.flatten && layer.flatten->source == 0);
        if (layer.synaptic)
            for (const Synapse& synapse : layer.synaptic->synapses) readers += synapse.source == 0;
    }
    if (readers != 1 || model.layers.size() < 2 || !model.layers[1].synaptic) return false;
    const Synaptic& first = *model.layers[1].synaptic;
    return first.out == 1 && first.synapses.size() == 1 && !first.synapses[0].channelwise() &&
           model.tensors[0].same(first.synapses[0].view) == View::Steps;
}

void Engine::begin_steps() {
    const Synaptic& layer = *model_->layers[1].synaptic;
    const Tensor& input = model_->tensors[0];
    {
        std::lock_guard lock(mutex_);
        kept_bytes_ = size_t(layer.height) * layer.words() * layer.width * layer.blocks * LANES *
                      sizeof(int32_t);
        kept_ = aligned(kept_bytes_);
        step_tally_.resize(size_t(input.height) * (2 * input.width + 3));
        rotated_ = layer.terms;
    }
    const std::vector<int32_t> silence(size_t(input.channels) * input.height * input.width);
    for (int step = 0; step < input.steps; ++step) put_step(step, silence.data());
}

int32_t* Engine::kept(const Synaptic& layer, int step, int y, int slice) const {
    const size_t row = (size_t(y) * layer.words() + slice) * layer.blocks + step;
    return reinterpret_cast<int32_t*>(kept_.get()) + row * layer.width * LANES;
}

void Engine::put_step(int step, const int32_t* counts) {
    std::lock_guard lock(mutex_);
    const Synaptic& layer = *model_->layers[1].synaptic;
    const Synapse& synapse = layer.synapses[0];
    const Spikes spikes = step_of(activations_[0].views[int(View::Steps)], step);
    const size_t places = size_t(spikes.height) * spikes.width;
    int64_t* const at = step_tally_.data();
    Tally tally;
    tally.events = at;
    tally.total = spikes.format == Format::Binary ? at : at + places;
    tally.row_events = at + 2 * places;
    std::fill_n(tally.row_places, 3, tally.row_events);
    tally.row_total = tally.row_events + spikes.height;
    tally.row_steps = reinterpret_cast<uint64_t*>(tally.row_total + spikes.height);
    encode_rows(counts, spikes, [&](int y) { model_->kernels->tally(spikes, tally, y); });
    const bool sliced =
        by_slices(layer);  // which decides where there is room for the lists of a row
    const size_t bytes = sliced ? place_store(layer, rows_[0], nullptr) : 0;
    workers_.run(layer.height, [&](int y, int thread) {
        RowStore& store = sliced ? rows_[y] : scratch_[thread].row;
        place_store(layer, store, sliced ? lists_ + y * bytes : scratch_[thread].lists);
        for (int slice = 0; slice < layer.words(); ++slice) {
            if (slice == 0 || !layer.one_range()) {
                store.inputs[0].path =
                    choose_path(synapse, {y, y + 1}, synapse.weights.slices[slice], tally, 1);
                gather_all(spikes, tally, synapse, y, slice, store.inputs[0]);
            }
            NeuronRow row = row_of(layer, y, slice, kept(layer, step, y, slice));
            connect(row, layer, y, slice, store);
            row.blocks = 1;
            model_->kernels->currents(row);
        }
    });
}

void Engine::run_steps(int first, const RunOutputs& outputs) {
    std::lock_guard lock(mutex_);
    run_window({nullptr, first}, 0, outputs);
}

// Neurons of the first layer, whose currents are kept.
void Engine::run_kept(const Synaptic& layer, int first) {
    for (size_t i = 0; i < rotated_.size(); ++i)
        rotated_[i].block = (layer.terms[i].block + first) % layer.blocks * layer.width;
    workers_.run(layer.height, [&](int y, int) {
        for (int slice = 0; slice < layer.words(); ++slice) {
            NeuronRow row = row_of(layer, y, slice, kept(layer, 0, y, slice));
            row.blocks = 1;  // pixels follow each other, and the steps of a row
            row.neurons.terms = rotated_.data();
            model_->kernels->fire(row);
        }
        finish_row(layer.out, y);
    });
}

// --------------------------------------------------------------------------------------------------
// counting

void Engine::count_spikes(const Synaptic& layer, int64_t* spikes, int64_t* events) const {
    const Tally& tally = activations_[layer.out].tally;
    *spikes = *events = 0;
    for (int y = 0; y < layer.height; ++y) {
        *spikes += tally.row_total[y];
        *events += tally.row_events[y];
    }
}

// Every spike counts the synapses that it crosses: borders and strides as `Geometry` found them.
void Engine::count_sops(const Synaptic& layer, int64_t* sops, int64_t* event_sops) const {
    *sops = *event_sops = 0;
    for (const Synapse& synapse : layer.synapses) {
        if (!synapse.counted) continue;
        const Geometry& geometry = synapse.geometry;
        const Tally& tally = activations_[synapse.source].tally;
        for (int y = 0; y < geometry.height_in; ++y) {
            int64_t total = 0, events = 0;
            for (int x = 0; x < geometry.width_in; ++x) {
                const size_t at = size_t(y) * geometry.width_in + x;
                total += geometry.column_taps[x] * tally.total[at];
                events += geometry.column_taps[x] * tally.events[at];
            }
            *sops += total * geometry.row_taps[y] * synapse.fan_out;
            *event_sops += events * geometry.row_taps[y] * synapse.fan_out;
        }
    }
}

void Engine::copy_trace(int tensor, int32_t* trace) const {
    const Spikes& spikes = activations_[tensor].views[int(View::Steps)];
    for (int step = 0; step < spikes.steps; ++step)
        for (int c = 0; c < spikes.channels; ++c)
            for (int y = 0; y < spikes.height; ++y)
                for (int x = 0; x < spikes.width; ++x)
                    *trace++ = value_at(spikes, spikes.word(step, y, x) + c / LANES, c % LANES);
}

}  // namespace lmht
