// Runs the layers with synapses: chooses a path for every output row, builds its inputs, and calls
// the kernels, row by row or slice by slice.
#pragma once
#include <span>
#include <vector>

#include "memory_plan.hpp"
#include "native/thread_pool.hpp"
#include "path_choice.hpp"
#include "potentials.hpp"
#include "prefetch.hpp"
#include "step_ring.hpp"

namespace lmht {

class SynapticRunner {
public:
    using Runners = std::span<SynapticRunner* const>;

    // `memory` is laid out by `plan`, and `activations` lie in it. All outlive the runner.
    SynapticRunner(const Model& model, const MemoryPlan& plan, unsigned char* memory,
                   const std::vector<Activation>& activations, ThreadPool& pool);
    SynapticRunner(const SynapticRunner&) = delete;

    void run_neurons(size_t index);
    void run_readout(size_t index, int64_t* logits);

    // Whether the weights of a layer pass through the cache slice by slice.
    bool streams_weights(size_t index) const;
    // `run_neurons` of such a layer for several runners of one model, each with one thread: a slice
    // of the weights is read once for all of them. The tiles of all are multiplied together.
    static void run_together(Runners runners, size_t index);
    // Makes room for the tiles of `runners` runners.
    void reserve_tiles(size_t runners) { scratch_[0].tiles.reserve(plan_.max_tiles * runners); }

    // The first layer, step by step: the currents of one step into a slot of the ring; then the
    // neurons, from the currents in the ring.
    void run_step(size_t index, const Source& step, StepRing& ring, int slot);
    void fire_steps(size_t index, StepRing& ring, int oldest);

    // From now on, each run begins with these potentials and leaves its own in them.
    void keep(const Potentials* potentials) { potentials_ = potentials; }

    // Whether the spikes of each step are asked for, in the runs from now on.
    void trace(bool traces) { traces_ = traces; }

    // Adds the number of output rows prepared since the last call, by path.
    void take_rows(int64_t rows[PATHS]);

private:
    struct Scratch {                        // of a thread
        std::vector<PreparedRow> prepared;  // rows that are computed together, Order::Rows
        std::vector<SynapseRow> synapses;
        std::vector<PixelTile> tiles;
        int32_t* currents = nullptr;
        unsigned char* lists = nullptr;
        int32_t* sums = nullptr;
        int64_t rows[PATHS] = {};
    };

    Runners alone() const { return {&self_, 1}; }
    const SynapticLayer& layer(size_t index) const { return *model_.layers[index].synaptic; }
    Source source_of(const Synapse& synapse) const;
    bool fires_windows(const SynapticLayer& layer) const;
    void finish(const SynapticLayer& layer, int y) const;
    bool prefetches(const SynapticLayer& layer) const;
    uint8_t* image_of(size_t index, size_t synapse) const;

    Path choose_path(const Synapse& synapse, const Source& source, int slice, RowRange rows) const;
    void choose_paths(const SynapticLayer& layer);
    Path path_of(const SynapticLayer& layer, size_t synapse, int slice) const;
    bool takes_tiles(const SynapticLayer& layer, size_t synapse, int slice) const;
    void begin(size_t index);
    // Row y is row i of the rows that are prepared together.
    PreparedRow& buffers_of_row(size_t index, int i, int thread);
    PreparedRow& prepare(size_t index, int y, int i, int slice, int thread);
    void prepare_rows(size_t index, RowRange rows, int slice, int thread);
    int silent_blocks(const SynapticLayer& layer, int y) const;
    void remember_path(size_t index, RowRange rows, const PreparedRow* prepared);

    void run_rows(size_t index);
    void run_some_rows(size_t index, RowRange rows, int thread, bool prefetch);
    void run_slices(size_t index);
    void prepare_slices(size_t index);
    void finish_slices(size_t index);
    static void compute_part(Runners runners, size_t index, int slice, int part, int parts,
                             int thread);
    WeightRange weights_after(size_t index, int slice, Path path) const;
    // Rows of one slice, whose inputs begin at `prepared`.
    void compute(size_t index, RowRange rows, int slice, const PreparedRow* prepared, int thread,
                 WeightRange next);
    // The same, after their tiles have been multiplied.
    void compute_rows(size_t index, RowRange rows, int slice, const PreparedRow* prepared,
                      int thread, WeightRange next);
    void compute_row(NeuronRow& row, size_t index, RowRange rows, int slice,
                     const PreparedRow& prepared, int thread, WeightRange next);
    static bool multiply_tiles(Runners runners, size_t index, RowRange rows, int slice, int thread,
                               WeightRange next);
    void cut_tiles(size_t index, RowRange rows, size_t synapse, int thread,
                   std::vector<PixelTile>& tiles) const;
    void connect(NeuronRow& row, size_t index, int y, int i, int slice, const PreparedRow& prepared,
                 int thread);

    SynapticRunner* const self_ = this;
    const Model& model_;
    const Kernels& kernels_;
    const MemoryPlan& plan_;
    const std::vector<Activation>& activations_;
    ThreadPool& pool_;
    PathChooser chooser_;
    const Potentials* potentials_ = nullptr;
    bool traces_ = false;
    std::vector<Scratch> scratch_;   // by thread
    std::vector<PreparedRow> rows_;  // of a layer with Order::Slices
    unsigned char* row_lists_;       // their memory
    unsigned char* images_;
    const Source* step_ = nullptr;  // read by all synapses, while a step is run
    std::vector<Path> paths_;       // of large weights of the layer: [slices][synapses]
    std::vector<Path> last_paths_;  // that the middle row of each layer took, of its first synapse
};

}  // namespace lmht
