#include "synaptic_runner.hpp"

#include <algorithm>
#include <utility>

#include "kernel_rows.hpp"

namespace lmht {
namespace {

constexpr int TASKS_PER_THREAD = 8;  // of a layer with Order::Slices

// Weights beyond which those of several layers do not stay in a core's cache.
constexpr size_t STREAMED_BYTES = size_t(1) << 18;

// Whether all output rows take the same path: those of large weights do, and those of tiles, which
// read an image of the whole input.
bool has_one_path(const Synapse& synapse) {
    return synapse.image || synapse.weights.size > MIXED_BYTES;
}

void reserve(std::vector<PreparedRow>& rows, size_t synapses) {
    for (PreparedRow& row : rows) row.inputs.reserve(synapses);
}

}  // namespace

SynapticRunner::SynapticRunner(const Model& model, const MemoryPlan& plan, unsigned char* memory,
                               const std::vector<Activation>& activations, ThreadPool& pool)
    : model_(model),
      kernels_(*model.kernels),
      plan_(plan),
      activations_(activations),
      pool_(pool),
      chooser_(model.costs, kernels_.dense_max, model.policy),
      scratch_(plan.threads.size()),
      rows_(plan.max_rows),
      row_lists_(plan.row_lists.in(memory)),
      images_(plan.images.in(memory)),
      paths_(plan.max_paths),
      last_paths_(model.layers.size(), Path::Ones) {
    for (size_t thread = 0; thread < scratch_.size(); ++thread) {
        scratch_[thread].currents = plan.threads[thread].currents.in(memory);
        scratch_[thread].lists = plan.threads[thread].lists.in(memory);
        scratch_[thread].sums = plan.threads[thread].sums.in(memory);
        scratch_[thread].synapses.reserve(plan.max_synapses);
        scratch_[thread].tiles.reserve(plan.max_tiles);
        scratch_[thread].prepared.resize(plan.max_rows);
        reserve(scratch_[thread].prepared, plan.max_synapses);
    }
    reserve(rows_, plan.max_synapses);
}

void SynapticRunner::run_neurons(size_t index) {
    if (plan_.layers[index].order == Order::Slices)
        run_slices(index);
    else
        run_rows(index);
}

void SynapticRunner::run_readout(size_t index, int64_t* logits) {
    const SynapticLayer& readout = layer(index);
    begin(index);
    const int32_t* const currents = scratch_[0].currents;
    for (int slice = 0; slice < readout.words(); ++slice) {
        if (slice == 0 || !readout.slices_share_inputs) prepare(index, 0, 0, slice, 0);
        compute(index, {0, 1}, slice, scratch_[0].prepared.data(), 0, {});
        const int end = std::min(readout.channels, (slice + 1) * LANES);
        for (int c = slice * LANES; c < end; ++c) {
            logits[c] = 0;
            for (int block = 0; block < readout.blocks; ++block)
                logits[c] += currents[block * LANES + c % LANES];
        }
    }
}

void SynapticRunner::take_rows(int64_t rows[PATHS]) {
    for (Scratch& scratch : scratch_)
        for (int path = 0; path < PATHS; ++path) rows[path] += std::exchange(scratch.rows[path], 0);
}

bool SynapticRunner::fires_windows(const SynapticLayer& layer) const {
    return !layer.window_thresholds.empty() && !potentials_ && !traces_;
}

void SynapticRunner::finish(const SynapticLayer& layer, int y) const {
    if (fires_windows(layer))
        finish_window_row(kernels_, activations_[layer.out], y);
    else
        finish_row(kernels_, model_.tensors[layer.out], activations_[layer.out], y);
}

Source SynapticRunner::source_of(const Synapse& synapse) const {
    if (step_) return *step_;
    return lmht::source_of(synapse, model_.tensors[synapse.source], activations_[synapse.source]);
}

bool SynapticRunner::prefetches(const SynapticLayer& layer) const {
    const Synapse& first = layer.synapses.front();
    return reads_most_weights(first, source_of(first));
}

// --------------------------------------------------------------------------------------------------
// inputs of a row

Path SynapticRunner::choose_path(const Synapse& synapse, const Source& source, int slice,
                                 RowRange rows) const {
    const SynapseTraits traits =
        traits_of(synapse, synapse.weights.slices[slice], source, chooser_.costs());
    const SpikeStatistics spikes =
        statistics_of(synapse.geometry, source, rows, chooser_.min_shared(traits));
    return chooser_.estimate(traits, spikes).cheapest();
}

// The paths that all rows of the layer take.
void SynapticRunner::choose_paths(const SynapticLayer& layer) {
    const int slices = layer.slices_share_inputs ? 1 : layer.words();
    auto path = paths_.begin();
    for (int slice = 0; slice < slices; ++slice)
        for (const Synapse& synapse : layer.synapses) {
            if (has_one_path(synapse))
                *path = choose_path(synapse, source_of(synapse), slice, {0, layer.height});
            ++path;
        }
}

// Chooses the paths that all rows take, and fills the images that they read.
void SynapticRunner::begin(size_t index) {
    const SynapticLayer& layer = this->layer(index);
    choose_paths(layer);
    for (size_t s = 0; s < layer.synapses.size(); ++s) {
        const auto multiplied = [&](int slice) { return takes_tiles(layer, s, slice); };
        const Synapse& synapse = layer.synapses[s];
        if (!synapse.image) continue;
        const int slices = layer.slices_share_inputs ? 1 : layer.words();
        bool any = false;
        for (int slice = 0; slice < slices; ++slice) any = any || multiplied(slice);
        if (!any) continue;
        const Spikes& spikes = source_of(synapse).spikes;
        uint8_t* const image = image_of(index, s);
        pool_.run(synapse.image->parts(spikes.steps), [&](int part, int) {
            synapse.image->fill(kernels_, spikes, synapse.in_place, part, image);
        });
    }
}

uint8_t* SynapticRunner::image_of(size_t index, size_t s) const {
    const Synapse& synapse = layer(index).synapses[s];
    return synapse.in_place ? source_of(synapse).spikes.count - synapse.image->first_pixel()
                            : plan_.layers[index].images[s].in(images_);
}

// With Order::Slices every row has its own buffers, else every thread has some.
PreparedRow& SynapticRunner::buffers_of_row(size_t index, int i, int thread) {
    const RowLayout& layout = plan_.layers[index].row;
    const bool own = plan_.layers[index].order == Order::Slices;
    Scratch& scratch = scratch_[thread];
    PreparedRow& row = own ? rows_[i] : scratch.prepared[i];
    layout.bind(own ? row_lists_ : scratch.lists, i, row);
    return row;
}

PreparedRow& SynapticRunner::prepare(size_t index, int y, int i, int slice, int thread) {
    const SynapticLayer& layer = this->layer(index);
    PreparedRow& row = buffers_of_row(index, i, thread);
    row.silent_blocks = silent_blocks(layer, y);
    for (size_t s = 0; s < layer.synapses.size(); ++s) {
        const Synapse& synapse = layer.synapses[s];
        RowInputs& inputs = row.inputs[s];
        if (!synapse.channelwise()) {
            const Source source = source_of(synapse);
            inputs.path = has_one_path(synapse) ? path_of(layer, s, slice)
                                                : choose_path(synapse, source, slice, {y, y + 1});
            if (!takes_tiles(layer, s, slice))
                gather_row(kernels_, synapse, source, slice, y, row.silent_blocks, chooser_,
                           inputs);
        }
        ++scratch_[thread].rows[int(inputs.path)];
    }
    return row;
}

int SynapticRunner::silent_blocks(const SynapticLayer& layer, int y) const {
    int silent = layer.blocks;
    for (const Synapse& synapse : layer.synapses)
        silent = std::min(silent, lmht::silent_blocks(synapse.geometry, source_of(synapse), y));
    return silent;
}

// For the next window, in which the layer probably takes the same path. Only the entry of the
// layer that runs is written, by the one thread that has the row; only others are read.
void SynapticRunner::remember_path(size_t index, RowRange rows, const PreparedRow* prepared) {
    const int middle = layer(index).height / 2;
    if (rows.first <= middle && middle < rows.last)
        last_paths_[index] = prepared[middle - rows.first].inputs.front().path;
}

// --------------------------------------------------------------------------------------------------
// row by row

void SynapticRunner::run_rows(size_t index) {
    begin(index);
    const SynapticLayer& layer = this->layer(index);
    const bool prefetch = prefetches(layer);
    const int together = plan_.layers[index].rows;
    pool_.run((layer.height + together - 1) / together, [&](int task, int thread) {
        const RowRange rows{task * together, std::min((task + 1) * together, layer.height)};
        run_some_rows(index, rows, thread, prefetch);
        for (int y = rows.first; y < rows.last; ++y) finish(layer, y);
    });
}

void SynapticRunner::run_some_rows(size_t index, RowRange rows, int thread, bool prefetch) {
    const SynapticLayer& layer = this->layer(index);
    const PreparedRow* const prepared = scratch_[thread].prepared.data();
    WeightRange next;
    for (int slice = 0; slice < layer.words(); ++slice) {
        if (slice == 0 || !layer.slices_share_inputs) prepare_rows(index, rows, slice, thread);
        if (slice == 0) remember_path(index, rows, prepared);
        if (slice == 0 && prefetch)
            next = next_weights(model_, plan_, index, last_paths_).part(rows, layer.height);
        compute(index, rows, slice, prepared, thread, std::exchange(next, {}));
    }
}

void SynapticRunner::prepare_rows(size_t index, RowRange rows, int slice, int thread) {
    for (int y = rows.first; y < rows.last; ++y) prepare(index, y, y - rows.first, slice, thread);
}

// --------------------------------------------------------------------------------------------------
// slice by slice

bool SynapticRunner::streams_weights(size_t index) const {
    const auto& synaptic = model_.layers[index].synaptic;
    return synaptic && plan_.layers[index].order == Order::Slices &&
           synaptic->row_bytes() > STREAMED_BYTES;
}

void SynapticRunner::run_slices(size_t index) {
    prepare_slices(index);
    const int threads = pool_.threads(), slices = layer(index).words();
    const int parts =
        threads == 1 ? 1 : std::clamp(TASKS_PER_THREAD * threads / slices, 1, layer(index).height);
    pool_.run(slices * parts, [&](int task, int thread) {
        compute_part(alone(), index, task / parts, task % parts, parts, thread);
    });
    finish_slices(index);
}

void SynapticRunner::prepare_slices(size_t index) {
    begin(index);
    pool_.run(layer(index).height, [&](int y, int thread) { prepare(index, y, y, 0, thread); });
    remember_path(index, {0, layer(index).height}, rows_.data());
}

void SynapticRunner::run_together(Runners runners, size_t index) {
    for (SynapticRunner* const runner : runners) runner->prepare_slices(index);
    const int slices = runners.front()->layer(index).words();
    for (int slice = 0; slice < slices; ++slice) compute_part(runners, index, slice, 0, 1, 0);
    for (SynapticRunner* const runner : runners) runner->finish_slices(index);
}

void SynapticRunner::finish_slices(size_t index) {
    pool_.run(layer(index).height, [&](int y, int) { finish(layer(index), y); });
}

// A part of the rows of one slice. It is as large as sharing the work evenly allows, so that each
// thread needs few weights. What comes next is prefetched by the product of tiles, or else by the
// last runner.
void SynapticRunner::compute_part(Runners runners, size_t index, int slice, int part, int parts,
                                  int thread) {
    const SynapticRunner& last = *runners.back();
    const SynapticLayer& layer = last.layer(index);
    const int height = layer.height, at_once = last.plan_.layers[index].tiles.rows;
    const int first = height * part / parts, end = height * (part + 1) / parts;
    WeightRange all;
    if (last.prefetches(layer))
        all = last.weights_after(index, slice, last.rows_[first].inputs.front().path);
    for (int y = first; y < end; y += at_once) {
        const RowRange rows{y, std::min(y + at_once, end)};
        WeightRange next = all.part(rows, height);
        if (multiply_tiles(runners, index, rows, slice, thread, next)) next = {};
        for (SynapticRunner* const runner : runners)
            runner->compute_rows(index, rows, slice, &runner->rows_[y], thread,
                                 runner == &last ? next : WeightRange{});
    }
}

// The weights that are needed after slice `slice`: the slice that follows it in turn, or the next
// layer.
WeightRange SynapticRunner::weights_after(size_t index, int slice, Path path) const {
    const SynapticLayer& layer = this->layer(index);
    const PackedWeights& weights = layer.synapses.front().weights;
    const int next = slice + pool_.threads();
    if (next == layer.words()) return next_weights(model_, plan_, index, last_paths_);
    if (next < layer.words() && !weights.slices.empty()) return weights_of(weights, next, path);
    return {};
}

// --------------------------------------------------------------------------------------------------
// kernels

void SynapticRunner::compute(size_t index, RowRange rows, int slice, const PreparedRow* prepared,
                             int thread, WeightRange next) {
    if (multiply_tiles(alone(), index, rows, slice, thread, next)) next = {};
    compute_rows(index, rows, slice, prepared, thread, next);
}

void SynapticRunner::compute_rows(size_t index, RowRange rows, int slice,
                                  const PreparedRow* prepared, int thread, WeightRange next) {
    const SynapticLayer& layer = this->layer(index);
    const Activation* const out = layer.is_readout() ? nullptr : &activations_[layer.out];
    NeuronRow row = neuron_row(layer, out, rows.first, slice, scratch_[thread].currents);
    if (fires_windows(layer)) row.window = &out->view(View::Window);
    for (row.y = rows.first; row.y < rows.last; ++row.y)
        compute_row(row, index, rows, slice, prepared[row.y - rows.first], thread, next);
}

void SynapticRunner::compute_row(NeuronRow& row, size_t index, RowRange rows, int slice,
                                 const PreparedRow& prepared, int thread, WeightRange next) {
    const int i = row.y - rows.first;
    connect(row, index, row.y, i, slice, prepared, thread);
    row.silent_blocks = prepared.silent_blocks;
    if (layer(index).is_readout()) return kernels_.currents(row);
    if (potentials_) potentials_->connect(row, index, row.y, slice);
    const WeightRange part = next.part({i, i + 1}, rows.last - rows.first);
    row.prefetch = part.from;
    row.prefetch_bytes = part.bytes;
    kernels_.neurons(row);
}

Path SynapticRunner::path_of(const SynapticLayer& layer, size_t synapse, int slice) const {
    const int inputs = layer.slices_share_inputs ? 0 : slice;
    return paths_[inputs * layer.synapses.size() + synapse];
}

bool SynapticRunner::takes_tiles(const SynapticLayer& layer, size_t synapse, int slice) const {
    return layer.synapses[synapse].image && path_of(layer, synapse, slice) == Path::Dense;
}

// Multiplies the tiles of some rows, of all synapses that have tiles. Returns whether there were
// any.
bool SynapticRunner::multiply_tiles(Runners runners, size_t index, RowRange rows, int slice,
                                    int thread, WeightRange next) {
    bool any = false;
    const SynapticRunner& first = *runners.front();
    std::vector<PixelTile>& tiles = runners.front()->scratch_[thread].tiles;
    const SynapticLayer& layer = first.layer(index);
    for (size_t s = 0; s < layer.synapses.size(); ++s) {
        tiles.clear();
        for (const SynapticRunner* const runner : runners)
            if (runner->takes_tiles(layer, s, slice))
                runner->cut_tiles(index, rows, s, thread, tiles);
        if (tiles.empty()) continue;
        const Synapse& synapse = layer.synapses[s];
        const int pixels = first.plan_.layers[index].tilings[s]->pixels_of_tile(rows);
        first.kernels_.multiply(
            dense_product(synapse, slice, tiles, pixels, std::exchange(next, {})));
        any = true;
    }
    return any;
}

void SynapticRunner::cut_tiles(size_t index, RowRange rows, size_t s, int thread,
                               std::vector<PixelTile>& tiles) const {
    const MemoryPlan::LayerPlan& plan = plan_.layers[index];
    plan.tilings[s]->cut(rows, source_of(layer(index).synapses[s]).spikes.steps, image_of(index, s),
                         scratch_[thread].sums + s * plan.sums, tiles);
}

// Row y is row i of those that are multiplied together.
void SynapticRunner::connect(NeuronRow& row, size_t index, int y, int i, int slice,
                             const PreparedRow& prepared, int thread) {
    const SynapticLayer& layer = this->layer(index);
    const MemoryPlan::LayerPlan& plan = plan_.layers[index];
    std::vector<SynapseRow>& synapses = scratch_[thread].synapses;
    synapses.clear();
    for (size_t s = 0; s < layer.synapses.size(); ++s) {
        const Synapse& synapse = layer.synapses[s];
        const RowInputs& inputs = prepared.inputs[s];
        SynapseRow& own = synapses.emplace_back();
        if (!takes_tiles(layer, s, slice)) {
            set_synapse(own, layer, synapse, source_of(synapse), inputs, y, slice);
            continue;
        }
        const Tiling& tiling = *plan.tilings[s];
        set_multiplied(own, synapse, inputs,
                       scratch_[thread].sums + s * plan.sums + tiling.first_pixel(i) * LANES,
                       tiling.block_pixels() * LANES);
    }
    row.n_synapses = int(synapses.size());
    row.synapses = synapses.data();
}

// --------------------------------------------------------------------------------------------------
// step by step

void SynapticRunner::run_step(size_t index, const Source& step, StepRing& ring, int slot) {
    const SynapticLayer& layer = this->layer(index);
    step_ = &step;
    begin(index);
    pool_.run(layer.height, [&](int y, int thread) {
        const int own = plan_.layers[index].order == Order::Slices ? y : 0;
        const PreparedRow* prepared = nullptr;
        for (int slice = 0; slice < layer.words(); ++slice) {
            if (slice == 0 || !layer.slices_share_inputs)
                prepared = &prepare(index, y, own, slice, thread);
            NeuronRow row = neuron_row(layer, &activations_[layer.out], y, slice,
                                       ring.currents(slot, y, slice));
            multiply_tiles(alone(), index, {y, y + 1}, slice, thread, {});
            connect(row, index, y, 0, slice, *prepared, thread);
            row.blocks = 1;
            row.silent_blocks = prepared->silent_blocks;
            kernels_.currents(row);
        }
    });
    step_ = nullptr;
}

void SynapticRunner::fire_steps(size_t index, StepRing& ring, int oldest) {
    const SynapticLayer& layer = this->layer(index);
    const Activation& out = activations_[layer.out];
    const Term* const terms = ring.terms(oldest);
    pool_.run(layer.height, [&](int y, int) {
        for (int slice = 0; slice < layer.words(); ++slice) {
            NeuronRow row = neuron_row(layer, &out, y, slice, ring.currents(0, y, slice));
            if (fires_windows(layer)) row.window = &out.view(View::Window);
            row.blocks = 1;  // pixels follow each other, and the steps of a row
            row.neurons.terms = terms;
            kernels_.fire(row);
        }
        finish(layer, y);
    });
}

}  // namespace lmht
