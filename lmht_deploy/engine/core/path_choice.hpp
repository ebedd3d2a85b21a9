// The choice of the cheapest path of a synapse, in three pure steps that can be printed and tested:
// what the synapse is (`SynapseTraits`), which spikes lie under its output rows
// (`SpikeStatistics`), and what each path would cost (`PathCosts`).
#pragma once
#include <array>
#include <optional>
#include <string>

#include "activation.hpp"

namespace lmht {

// Output rows first <= y < last.
struct RowRange {
    int first, last;
};

// What the costs depend on besides the spikes: a synapse, one slice of its weights, its source.
struct SynapseTraits {
    Format format;      // of the source
    int64_t max_count;  // largest k of a block
    int width;          // output pixels per row
    Extent kernel;
    int positions;          // of columns under an output row
    int channels;           // input channels that the slice reads
    bool aligned_channels;  // whether the first of them begins a word
    int slices;             // that share the lists
    int row_pixels;         // per row and block where tiles are multiplied; 0 where they cannot be
    bool in_place;          // whether the counts are in the image already
    double rows_per_spike;  // expected rows of weights that one spike adds, weighted by their cost
    size_t streamed_bytes;  // of the slice, if they are read from beyond the caches of a core
};

SynapseTraits traits_of(const Synapse& synapse, const Slice& slice, const Source& source,
                        const Costs& costs);

// Bytes of the weights that a slice of 64 output channels reads by lists, 3 x 3 kernel: 64 input
// channels fit the first-level cache of most processors, 512 lie in the second.
constexpr double SMALL_SLICE = 64 * 9 * LANES, LARGE_SLICE = 512 * 9 * LANES;

// Expected number of weight rows that graded spikes add: `active` entries that sum to `spikes`. A
// spike of k = 1, 2, 3, 4 adds 1, 1, 2, 2 rows; 1 + (k - 1) / 3 approximates this.
constexpr double graded_rows(double active, double spikes) {
    return active + (spikes - active) / 3;
}

// The spikes under some output rows, in all blocks of the source.
struct SpikeStatistics {
    int blocks = 1;
    int rows = 0;  // output rows
    // The blocks of each output row from the first one with a spike under it on, and of the input
    // rows under it, without padding. Only tiles are multiplied for the silent blocks before.
    int64_t row_blocks = 0, input_row_blocks = 0;
    int64_t spikes = 0;          // sum of k
    int64_t active = 0;          // entries with k != 0
    int64_t max_row_spikes = 0;  // largest sum of k under one output row
    // Of binary spikes: the pairs of blocks (of all rows) worth sharing, and what they share.
    int64_t shared_pairs = 0, shared_spikes = 0;
};

// Spikes under output row y that both blocks of a pair have.
int64_t spikes_shared(const Geometry& geometry, const Source& source, int y, int pair);

// `min_shared`: a pair is worth sharing where it shares more spikes than this.
SpikeStatistics statistics_of(const Geometry& geometry, const Source& source, RowRange rows,
                              double min_shared);

// Expected time of each path, in the unit of the costs; empty where a path is not possible.
struct PathCosts {
    std::array<std::optional<double>, PATHS> nanoseconds;  // by Path

    std::optional<double>& operator[](Path path) { return nanoseconds[int(path)]; }
    const std::optional<double>& operator[](Path path) const { return nanoseconds[int(path)]; }
    Path cheapest() const;  // at least one is possible
};

std::string to_string(const PathCosts& costs);

// What each path of a synapse is expected to cost for a window whose source has `density` spikes
// per neuron and step, spread evenly. Empty for a channelwise synapse.
PathCosts expected_costs(const Model& model, const Synapse& synapse, double density);

class PathChooser {
public:
    PathChooser(const Costs& costs, int dense_max, PathPolicy policy)
        : costs_(costs), dense_max_(dense_max), policy_(policy) {}

    const Costs& costs() const { return costs_; }

    // The number of common spikes beyond which a third list for a pair of blocks pays.
    double min_shared(const SynapseTraits& synapse) const;
    // Costs of the paths that the policy allows.
    PathCosts estimate(const SynapseTraits& synapse, const SpikeStatistics& spikes) const;

private:
    PathCosts estimate_all(const SynapseTraits& synapse, const SpikeStatistics& spikes) const;
    double dense(const SynapseTraits& synapse, const SpikeStatistics& spikes) const;
    double listing(const SynapseTraits& synapse, const SpikeStatistics& spikes, double pixel) const;
    double saved_by_sharing(const SynapseTraits& synapse, const SpikeStatistics& spikes) const;

    Costs costs_;
    int dense_max_;
    PathPolicy policy_;
};

}  // namespace lmht
