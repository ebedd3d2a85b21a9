#include "path_choice.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace lmht {
namespace {

// Order of `cheapest`: where estimates are equal, the earlier path is taken. (Channelwise synapses
// have no other path and no estimate.)
constexpr Path PREFERENCE[] = {Path::Shared,   Path::Ones,  Path::Graded,
                               Path::Weighted, Path::Dense, Path::Channelwise};

// Whether the second list of graded spikes, whose weight rows count twice, is large enough. It
// needs floor(k / 2) entries for a spike of k, and has MAX_TWICE entries for each input under an
// output row.
bool fits_lists(const SynapseTraits& synapse, const SpikeStatistics& spikes) {
    const int64_t room =
        int64_t(MAX_TWICE) * synapse.positions * synapse.kernel.y * synapse.channels;
    return synapse.max_count / 2 <= MAX_TWICE || spikes.max_row_spikes / 2 <= room;
}

// The cost of a row of weights, relative to one of a slice that fits the first-level cache. It
// rises with the logarithm of the size.
double slice_factor(size_t bytes, double of_large) {
    const double size =
        std::log2(double(bytes) / SMALL_SLICE) / std::log2(LARGE_SLICE / SMALL_SLICE);
    return 1 + (of_large - 1) * std::clamp(size, 0.0, 1.0);
}

// Words of inputs under the output rows, in the blocks that are not skipped.
double words(const SynapseTraits& synapse, const SpikeStatistics& spikes) {
    const int words_per_pixel = (synapse.channels + LANES - 1) / LANES;
    return double(spikes.input_row_blocks) * synapse.positions * words_per_pixel;
}

// The estimates without those of all paths but `path`: what remains if `path` is forced.
PathCosts only(Path path, const PathCosts& all) {
    PathCosts costs;
    costs[path] = all[path];
    return costs;
}

// Spikes under all output rows where `density` of the neurons fire at each step, independently of
// each other. A block sums the same number of steps as every other.
SpikeStatistics expected_statistics(const Geometry& geometry, const Tensor& tensor,
                                    const Source& source, double density, double min_shared) {
    int rows_under = 0;
    for (int y = 0; y < geometry.height_out; ++y)
        geometry.for_rows_under(y, [&](int) { ++rows_under; });
    const double neurons = double(rows_under) * tensor.width * tensor.channels;
    const double fires = std::min(density, 1.0);
    const int blocks = source.view == View::Compact ? 1 : source.spikes.steps;
    const double active = 1 - std::pow(1 - fires, tensor.steps / blocks);
    const double shared = neurons / geometry.height_out * fires * fires;  // of a row and a pair
    SpikeStatistics found;
    found.blocks = source.spikes.steps;
    found.rows = geometry.height_out;
    if (density > 0) {
        found.row_blocks = int64_t(found.rows) * blocks;
        found.input_row_blocks = int64_t(rows_under) * blocks;
    }
    found.spikes = std::llround(neurons * tensor.steps * density);
    found.active = std::llround(neurons * blocks * active);
    found.max_row_spikes = found.spikes / found.rows;
    if (source.spikes.format == Format::Binary && shared > min_shared) {
        found.shared_pairs = int64_t(found.rows) * (source.spikes.steps / 2);
        found.shared_spikes = std::llround(double(found.shared_pairs) * shared);
    }
    return found;
}

}  // namespace

PathCosts expected_costs(const Model& model, const Synapse& synapse, double density) {
    if (synapse.channelwise()) return {};
    const Tensor& tensor = model.tensors[synapse.source];
    Activation activation;
    Spikes& spikes = activation.views[int(synapse.view)];
    spikes.format = tensor.format(synapse.view);
    spikes.steps = tensor.steps_of(synapse.view);
    const Source source = source_of(synapse, tensor, activation);
    const PathChooser chooser(model.costs, model.kernels->dense_max, model.policy);
    PathCosts sum;
    for (const Slice& slice : synapse.weights.slices) {
        const SynapseTraits traits = traits_of(synapse, slice, source, chooser.costs());
        const PathCosts costs =
            chooser.estimate(traits, expected_statistics(synapse.geometry, tensor, source, density,
                                                         chooser.min_shared(traits)));
        for (int path = 0; path < PATHS; ++path)
            if (costs.nanoseconds[path])
                sum.nanoseconds[path] =
                    sum.nanoseconds[path].value_or(0) + *costs.nanoseconds[path];
    }
    return sum;
}

SynapseTraits traits_of(const Synapse& synapse, const Slice& slice, const Source& source,
                        const Costs& costs) {
    const Geometry& geometry = synapse.geometry;
    const double factor = slice_factor(slice.bytes, costs.large_slice_factor);
    return {
        .format = source.spikes.format,
        .max_count = source.max_count,
        .width = geometry.width_out,
        .kernel = geometry.kernel,
        .positions = int(geometry.columns.size()),
        .channels = slice.channels,
        .aligned_channels = slice.channel0 % LANES == 0,
        .slices = int(synapse.weights.slices.size()),
        .row_pixels = synapse.image ? synapse.image->pitch() : 0,
        .in_place = synapse.in_place,
        .rows_per_spike = geometry.mean_column_taps * slice.channels / synapse.channels_in * factor,
        .streamed_bytes = synapse.streamed ? slice.bytes : 0};
}

// Number of spikes that both time-steps of a pair have, in the input rows under output row `y`.
int64_t spikes_shared(const Geometry& geometry, const Source& source, int y, int pair) {
    const int pairs = source.spikes.steps / 2;
    int64_t shared = 0;
    geometry.for_rows_under(
        y, [&](int row) { shared += source.tally.row_shared[row * pairs + pair]; });
    return shared;
}

SpikeStatistics statistics_of(const Geometry& geometry, const Source& source, RowRange rows,
                              double min_shared) {
    const int64_t* const active = source.tally.row_active[int(source.view)];
    const int pairs = source.spikes.format == Format::Binary ? source.spikes.steps / 2 : 0;
    SpikeStatistics found;
    found.blocks = source.spikes.steps;
    found.rows = rows.last - rows.first;
    for (int y = rows.first; y < rows.last; ++y) {
        const int blocks = found.blocks - silent_blocks(geometry, source, y);
        found.row_blocks += blocks;
        int64_t spikes = 0;
        geometry.for_rows_under(y, [&](int row) {
            found.input_row_blocks += blocks;
            spikes += source.tally.row_spikes[row];
            found.active += active[row];
        });
        found.spikes += spikes;
        found.max_row_spikes = std::max(found.max_row_spikes, spikes);
        for (int pair = 0; pair < pairs; ++pair)
            if (const int64_t shared = spikes_shared(geometry, source, y, pair);
                double(shared) > min_shared) {
                ++found.shared_pairs;
                found.shared_spikes += shared;
            }
    }
    return found;
}

Path PathCosts::cheapest() const {
    Path best = Path::Channelwise;
    for (const Path path : PREFERENCE)
        if ((*this)[path] && (!(*this)[best] || *(*this)[path] < *(*this)[best])) best = path;
    return best;
}

std::string to_string(const PathCosts& costs) {
    constexpr const char* NAMES[PATHS] = {"ones",     "shared", "graded",
                                          "weighted", "dense",  "channelwise"};
    std::string found;
    char entry[64];
    for (int path = 0; path < PATHS; ++path)
        if (costs.nanoseconds[path]) {
            std::snprintf(entry, sizeof entry, "%s%s %.0f", found.empty() ? "" : ", ", NAMES[path],
                          *costs.nanoseconds[path]);
            found += entry;
        }
    return found + " ns";
}

// The number of shared spikes from which on sharing saves time. Two time-steps that share s spikes
// save s * rows_per_spike * binary_row cycles. The third list costs extra_list_pixel cycles per
// output pixel.
double PathChooser::min_shared(const SynapseTraits& synapse) const {
    constexpr double NEVER = std::numeric_limits<double>::infinity(), ALWAYS = -1;
    if (policy_ == PathPolicy::Shared) return ALWAYS;
    if (policy_ != PathPolicy::Cheapest || synapse.rows_per_spike == 0) return NEVER;
    return synapse.width * costs_.extra_list_pixel / (synapse.rows_per_spike * costs_.binary_row);
}

double PathChooser::saved_by_sharing(const SynapseTraits& synapse,
                                     const SpikeStatistics& spikes) const {
    return double(spikes.shared_spikes) * synapse.rows_per_spike * costs_.binary_row -
           double(spikes.shared_pairs) * synapse.width * costs_.extra_list_pixel;
}

// Time of all dot products, or of all products of tiles, of what comes from them, and of what
// goes to them. Dot products leave out the rows in the padding. Rows follow each other in tiles.
double PathChooser::dense(const SynapseTraits& synapse, const SpikeStatistics& spikes) const {
    const double fill =
        synapse.in_place ? 0 : words(synapse, spikes) * costs_.dense_word / synapse.slices;
    if (costs_.tile_product == 0 || synapse.row_pixels == 0) {
        const double inputs = double(spikes.input_row_blocks) * synapse.kernel.x * synapse.channels;
        return double(synapse.width) *
                   (inputs * costs_.dense_slot + double(spikes.row_blocks) * costs_.dense_pixel) +
               fill;
    }
    constexpr int CHANNEL_TILES = LANES / TILE_SIZE;
    const double inputs = double(synapse.kernel.y) * synapse.kernel.x * synapse.channels,
                 pixels = double(spikes.rows) * synapse.row_pixels * spikes.blocks;
    const double products =
        std::max(pixels / TILE_SIZE, 1.0) * CHANNEL_TILES * std::ceil(inputs / DEPTH);
    return products * costs_.tile_product + pixels * costs_.tile_pixel + fill;
}

// Time of handling the lists: ending one per output pixel and step (`pixel`), searching the input
// words for spikes (list_word), which is done once for all slices, and waiting for weights. Few
// spikes read few rows of them.
double PathChooser::listing(const SynapseTraits& synapse, const SpikeStatistics& spikes,
                            double pixel) const {
    const double pixels = double(spikes.row_blocks) * synapse.width,
                 read = double(spikes.active) * synapse.rows_per_spike * LANES;
    return pixels * pixel + words(synapse, spikes) * costs_.list_word / synapse.slices +
           std::min(double(synapse.streamed_bytes), read) * costs_.streamed_byte;
}

PathCosts PathChooser::estimate_all(const SynapseTraits& synapse,
                                    const SpikeStatistics& spikes) const {
    const bool binary = synapse.format == Format::Binary;
    const double rows = synapse.rows_per_spike,
                 lists = listing(synapse, spikes, binary ? costs_.list_pixel : costs_.graded_pixel),
                 weighted = double(spikes.active) * rows * costs_.weighted_row + lists;
    PathCosts costs;
    if (synapse.format == Format::Wide) {
        costs[Path::Weighted] = weighted;
        return costs;
    }
    if (binary) {
        const double ones = double(spikes.spikes) * rows * costs_.binary_row + lists;
        costs[Path::Ones] = ones;
        if (spikes.shared_pairs) costs[Path::Shared] = ones - saved_by_sharing(synapse, spikes);
    } else {
        const double added = graded_rows(double(spikes.active), double(spikes.spikes));
        costs[Path::Weighted] = weighted;
        if (fits_lists(synapse, spikes))
            costs[Path::Graded] = added * rows * costs_.graded_row + lists;
    }
    if (synapse.max_count <= dense_max_ && synapse.aligned_channels)
        costs[Path::Dense] = dense(synapse, spikes);
    return costs;
}

PathCosts PathChooser::estimate(const SynapseTraits& synapse, const SpikeStatistics& spikes) const {
    PathCosts costs = estimate_all(synapse, spikes);
    if (policy_ == PathPolicy::Cheapest) return costs;
    if (policy_ == PathPolicy::Dense && costs[Path::Dense]) return only(Path::Dense, costs);
    if (policy_ == PathPolicy::Shared && costs[Path::Shared]) return only(Path::Shared, costs);
    costs[Path::Dense].reset();
    return costs;
}

}  // namespace lmht
