// Runs windows through a model: owns the buffers, decides what is cheapest row by row, counts.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "model.hpp"
#include "native/thread_pool.hpp"

namespace lmht {

// What one layer did in a run, summed over the windows.
struct LayerProfile {
    int64_t nanoseconds = 0;
    int64_t rows[PATHS] =
        {};  // output rows of its synapses (times slices, where groups make them differ), by `Path`
};

// Where the integers of a run go; every pointer is the caller's. B windows.
struct RunOutputs {
    int64_t* logits;                  // [B][classes]
    int64_t *spikes, *events;         // [B][neuron layers]
    int64_t *sops, *event_sops;       // [B][layers with synapses]
    std::vector<int32_t*> traces;     // empty, or [B][steps][C][H][W] for each neuron layer
    LayerProfile* profile = nullptr;  // null, or [layers]
};

class Engine {
public:
    Engine(std::shared_ptr<const Model> model, int threads);

    // windows: [B][steps][C][H][W], within the range of the model's input. Not to be called twice
    // at a time; a second caller waits.
    void run(const int32_t* windows, int batch, const RunOutputs& outputs);

    // The same for a window that comes step by step: the currents of each step are computed as it
    // comes, and kept for every window that it is in. Only where `by_steps`; `put_step` says so
    // too. The steps are slots of a ring; all hold silence at first.
    //   put_step: counts [C][H][W] of what is now in slot `step`
    //   run_steps: the window whose oldest step is in slot `first`; room for one window
    static bool by_steps(const Model& model);
    void begin_steps();
    bool stepping() const { return kept_bytes_ > 0; }  // whether it was called
    void put_step(int step, const int32_t* counts);
    void run_steps(int first, const RunOutputs& outputs);

    size_t buffer_bytes() const { return arena_bytes_ + kept_bytes_; }
    int threads() const { return workers_.threads(); }

private:
    // The views of a tensor, in memory of the arena.
    struct Activation {
        Spikes views[3];  // by View; a view that equals an earlier one is that one
        Tally tally;
    };

    // The inputs of one output row of a layer, for each of its synapses.
    struct RowStore {
        std::vector<RowInputs> inputs;
        std::vector<SynapseRow> synapses;
        int quiet = 0;  // as in `NeuronRow`
    };

    struct Scratch {  // of a thread
        RowStore row;
        int32_t* currents = nullptr;
        unsigned char* lists = nullptr;
        int64_t rows[PATHS] = {};  // prepared since the last look, by `Path`
    };

    void plan_memory();
    // A window as it is given, or (null) the steps that were put, the oldest of them in slot
    // `first`.
    struct Window {
        const int32_t* counts;
        int first;
    };

    void run_window(Window window, int index, const RunOutputs& outputs);
    void run_layer(const Layer& layer, Window window, int64_t* logits);
    void run_kept(const Synaptic& layer, int first);
    int32_t* kept(const Synaptic& layer, int step, int y, int slice) const;
    void note(LayerProfile& profile, int64_t nanoseconds);
    void encode(const int32_t* window);
    template <class Finish>
    void encode_rows(const int32_t* counts, const Spikes& spikes, Finish finish);
    void run_neurons(const Synaptic& layer);
    void run_rows(const Synaptic& layer);
    void run_slices(const Synaptic& layer);
    void run_readout(const Synaptic& layer, int64_t* logits);
    void run_pool(const Pool& pool);
    void run_flatten(const Flatten& flatten);
    void finish_row(int tensor, int y);  // the views that are summed, and the tally
    void count_spikes(const Synaptic& layer, int64_t* spikes, int64_t* events) const;
    void count_sops(const Synaptic& layer, int64_t* sops, int64_t* event_sops) const;
    void copy_trace(int tensor, int32_t* trace) const;

    struct Range {  // first <= i < last
        int first, last;
    };

    void choose_paths(const Synaptic& layer);
    void prepare(const Synaptic& layer, int y, int slice, RowStore& store, int thread);
    void gather_all(const Spikes& source, const Tally& tally, const Synapse& synapse, int y,
                    int slice, RowInputs& inputs) const;
    void gather(const Spikes& source, Listed of, const Synapse& synapse, int y, int slice,
                RowInputs& inputs) const;
    bool silent(const Synapse& synapse, const Tally& tally, int y, int block) const;
    int quiet_blocks(const Synaptic& layer, int y) const;
    NeuronRow row_of(const Synaptic& layer, int y, int slice, int32_t* currents) const;
    void connect(NeuronRow& row, const Synaptic& layer, int y, int slice, RowStore& store) const;
    // Weights to fetch into the cache while something else is computed.
    struct Ahead {
        const uint8_t* from = nullptr;
        size_t bytes = 0;

        Ahead part(int i, int parts) const { return {from + bytes / parts * i, bytes / parts}; }
    };
    void compute(const Synaptic& layer, int y, int slice, RowStore& store, int32_t* currents,
                 Ahead ahead) const;
    bool fetches_ahead(const Synaptic& layer) const;
    Ahead next_layer(const Synaptic& layer, Path path) const;
    static Ahead weights_of(const PackedWeights& weights, int slice, Path path);
    double reads_of(const Synapse& synapse, const Slice& slice) const;
    double saved_by_sharing(const Synapse& synapse, const Slice& slice, const Tally& tally, int y,
                            int pair, int pairs) const;
    Path choose_path(const Synapse& synapse, Range rows, const Slice& slice, const Tally& tally,
                     int steps) const;
    bool by_slices(const Synaptic& layer) const;
    size_t place_store(const Synaptic& layer, RowStore& store, unsigned char* at) const;

    std::shared_ptr<const Model> model_;
    std::mutex mutex_;
    std::vector<Activation> activations_;
    std::vector<Scratch> scratch_;
    std::vector<RowStore> rows_;  // of a layer that runs slice by slice
    std::vector<Path>
        paths_;  // of the layer that runs, where all its rows take the same: [slices][synapses]
    unsigned char* lists_ = nullptr;
    size_t lists_bytes_ = 0;
    Aligned<uint8_t> arena_;
    size_t arena_bytes_ = 0;
    Aligned<uint8_t> kept_;  // currents of the first layer's steps, [H][words][steps][W][64]
    size_t kept_bytes_ = 0;
    std::vector<int64_t> step_tally_;
    std::vector<Term> rotated_;  // the first layer's, its blocks counted from the oldest step
    ThreadPool workers_;
};

}  // namespace lmht
