#include <cmath>

#include "check.hpp"
#include "engine/core/path_choice.hpp"

using namespace lmht;

static constexpr Costs COSTS{.binary_row = 2,
                             .graded_row = 2.5f,
                             .weighted_row = 10,
                             .large_slice_factor = 1.5f,
                             .dense_slot = 0.5f,
                             .dense_pixel = 20,
                             .dense_word = 0,
                             .list_pixel = 30,
                             .graded_pixel = 40,
                             .list_word = 8,
                             .extra_list_pixel = 40};

static SynapseTraits traits(Format format, int64_t max_count) {
    return {.format = format,
            .max_count = max_count,
            .width = 10,
            .kernel = {3, 3},
            .positions = 12,
            .channels = 64,
            .aligned_channels = true,
            .slices = 1,
            .row_pixels = 12,
            .rows_per_spike = 3,
            .streamed_bytes = 0};
}

// Of one output row, under which lie 3 x 10 pixels of 64 channels in 4 steps.
static SpikeStatistics spikes(int64_t n) {
    return {.blocks = 4,
            .rows = 1,
            .row_blocks = 4,
            .input_row_blocks = 3 * 4,
            .spikes = n,
            .active = n,
            .max_row_spikes = n};
}
static constexpr int64_t FULL = 3 * 10 * 64 * 4;

static PathChooser chooser(PathPolicy policy = PathPolicy::Cheapest, int dense_max = 255) {
    return {COSTS, dense_max, policy};
}

TEST(few_spikes_are_listed_and_many_are_dense) {
    const SynapseTraits synapse = traits(Format::Binary, 1);
    CHECK(chooser().estimate(synapse, spikes(0)).cheapest() == Path::Ones);
    CHECK(chooser().estimate(synapse, spikes(100)).cheapest() == Path::Ones);
    CHECK(chooser().estimate(synapse, spikes(FULL)).cheapest() == Path::Dense);
}

TEST(costs_rise_with_the_spikes_and_the_choice_changes_once) {
    const SynapseTraits synapse = traits(Format::Counts, 3);
    int changes = 0;
    PathCosts before = chooser().estimate(synapse, spikes(0));
    for (int64_t n = 1; n <= FULL; ++n) {
        const PathCosts costs = chooser().estimate(synapse, spikes(n));
        CHECK(*costs[Path::Graded] > *before[Path::Graded]);
        CHECK(*costs[Path::Weighted] > *before[Path::Weighted]);
        CHECK_EQUAL(*costs[Path::Dense], *before[Path::Dense]);
        changes += costs.cheapest() != before.cheapest();
        before = costs;
    }
    CHECK_EQUAL(changes, 1);
}

TEST(input_rows_in_the_padding_cost_dot_products_nothing) {
    const SynapseTraits synapse = traits(Format::Binary, 1);
    SpikeStatistics edge = spikes(100);
    edge.input_row_blocks = 2 * 4;
    const auto dense = [&](const SpikeStatistics& under) {
        return *chooser().estimate(synapse, under)[Path::Dense];
    };
    // 10 pixels in 4 steps, 3 * 64 inputs per row.
    CHECK_EQUAL(dense(spikes(100)) - dense(edge), 10 * 4 * 3 * 64 * 0.5);
}

TEST(tiles_are_counted_where_the_tier_has_them) {
    Costs costs = COSTS;
    costs.tile_product = 16;
    const PathChooser tiles(costs, 255, PathPolicy::Cheapest);
    const auto dense = [&](const SynapseTraits& synapse, int rows) {
        SpikeStatistics many = spikes(FULL);
        many.rows = rows;
        return *tiles.estimate(synapse, many)[Path::Dense];
    };
    SynapseTraits synapse = traits(Format::Binary, 1);
    // 12 pixels in 4 steps are 3 tiles; 9 * 64 inputs and 64 outputs are 9 times 4.
    CHECK_EQUAL(dense(synapse, 1), 3 * 9 * 4 * 16.0);
    CHECK_EQUAL(dense(synapse, 4), 4 * 3 * 9 * 4 * 16.0);
    synapse.row_pixels = 1;
    CHECK_EQUAL(dense(synapse, 1), 9 * 4 * 16.0);  // less than a tile takes one
    synapse.row_pixels = 0;
    CHECK_EQUAL(dense(synapse, 1), *chooser().estimate(synapse, spikes(FULL))[Path::Dense]);
}

TEST(lists_wait_for_weights_from_beyond_the_caches) {
    SynapseTraits synapse = traits(Format::Counts, 3);
    const PathCosts cached = chooser().estimate(synapse, spikes(100));
    synapse.streamed_bytes = 1000;
    const PathCosts streamed = chooser().estimate(synapse, spikes(100));
    for (const Path path : {Path::Graded, Path::Weighted})
        CHECK(std::abs(*streamed[path] - *cached[path] - 1000 * double(COSTS.streamed_byte)) <
              1e-9);
    CHECK_EQUAL(*streamed[Path::Dense], *cached[Path::Dense]);
    // Two spikes of three rows each read no more than 2 * 3 * 64 weights.
    const double waits = *chooser().estimate(synapse, spikes(2))[Path::Graded];
    synapse.streamed_bytes = 2 * 3 * LANES;
    CHECK_EQUAL(*chooser().estimate(synapse, spikes(2))[Path::Graded], waits);
}

TEST(silent_blocks_cost_lists_and_dot_products_nothing) {
    Costs costs = COSTS;
    costs.tile_product = 16;
    const PathChooser dots = chooser(), tiles(costs, 255, PathPolicy::Cheapest);
    const SynapseTraits synapse = traits(Format::Binary, 1);
    SpikeStatistics silent = spikes(0);
    silent.row_blocks = silent.input_row_blocks = 0;
    CHECK_EQUAL(*dots.estimate(synapse, silent)[Path::Ones], 0.0);
    CHECK_EQUAL(*dots.estimate(synapse, silent)[Path::Dense], 0.0);
    CHECK(*tiles.estimate(synapse, silent)[Path::Dense] > 0);
    CHECK(tiles.estimate(synapse, silent).cheapest() == Path::Ones);
}

TEST(cheapest_is_the_least_of_what_is_possible) {
    PathCosts costs;
    costs[Path::Graded] = 3;
    costs[Path::Dense] = 2;
    CHECK(costs.cheapest() == Path::Dense);
    costs[Path::Weighted] = 1;
    CHECK(costs.cheapest() == Path::Weighted);
    costs[Path::Graded] = 1;  // equal costs: the list that adds without products
    CHECK(costs.cheapest() == Path::Graded);
}

TEST(only_possible_paths_have_costs) {
    const auto possible = [](const PathCosts& costs) {
        std::vector<int> found;
        for (const auto& time : costs.nanoseconds) found.push_back(time.has_value());
        return found;
    };
    // ones, shared, graded, weighted, dense, channelwise
    CHECK_EQUAL(possible(chooser().estimate(traits(Format::Binary, 1), spikes(9))),
                (std::vector<int>{1, 0, 0, 0, 1, 0}));
    CHECK_EQUAL(possible(chooser().estimate(traits(Format::Counts, 9), spikes(9))),
                (std::vector<int>{0, 0, 1, 1, 1, 0}));
    CHECK_EQUAL(possible(chooser().estimate(traits(Format::Wide, 999), spikes(9))),
                (std::vector<int>{0, 0, 0, 1, 0, 0}));
    const PathChooser no_dense = chooser(PathPolicy::Cheapest, 0), small = chooser({}, 127);
    CHECK(!no_dense.estimate(traits(Format::Binary, 1), spikes(9))[Path::Dense]);
    CHECK(!small.estimate(traits(Format::Counts, 128), spikes(9))[Path::Dense]);
    SynapseTraits unaligned = traits(Format::Binary, 1);
    unaligned.aligned_channels = false;
    CHECK(!chooser().estimate(unaligned, spikes(9))[Path::Dense]);
}

TEST(counts_that_do_not_fit_the_lists_are_not_graded) {
    const SynapseTraits synapse = traits(Format::Counts, 200);
    const int64_t room = MAX_TWICE * synapse.positions * synapse.kernel.y * synapse.channels;
    const SpikeStatistics fitting{
        .rows = 1, .spikes = 2 * room, .active = 99, .max_row_spikes = 2 * room + 1};
    SpikeStatistics crowded = fitting;
    crowded.max_row_spikes = 2 * (room + 1);
    CHECK(chooser().estimate(synapse, fitting)[Path::Graded].has_value());
    CHECK(!chooser().estimate(synapse, crowded)[Path::Graded]);
    // k / 2 <= MAX_TWICE always fits.
    CHECK(chooser().estimate(traits(Format::Counts, 5), crowded)[Path::Graded].has_value());
}

TEST(sharing_pays_beyond_its_break_even) {
    const SynapseTraits synapse = traits(Format::Binary, 1);
    const double min_shared = chooser().min_shared(synapse);
    CHECK(min_shared > 0);
    for (const int64_t more : {1, 10, 100}) {
        SpikeStatistics shared = spikes(1000);
        shared.shared_pairs = 1;
        shared.shared_spikes = int64_t(std::floor(min_shared)) + more;
        const PathCosts costs = chooser().estimate(synapse, shared);
        CHECK(*costs[Path::Shared] < *costs[Path::Ones]);
        CHECK(costs.cheapest() == Path::Shared);
    }
    SynapseTraits unread = synapse;
    unread.rows_per_spike = 0;
    CHECK(std::isinf(chooser().min_shared(unread)));
}

TEST(policies_force_a_path_where_there_is_a_choice) {
    const SynapseTraits binary = traits(Format::Binary, 1), graded = traits(Format::Counts, 3);
    SpikeStatistics shared = spikes(0), full = spikes(FULL);
    shared.shared_pairs = 2;
    const PathChooser list = chooser(PathPolicy::List), share = chooser(PathPolicy::Shared),
                      dense = chooser(PathPolicy::Dense), no_dense = chooser(PathPolicy::Dense, 0);
    CHECK(list.estimate(binary, full).cheapest() == Path::Ones);
    CHECK(list.estimate(graded, full).cheapest() == Path::Graded);
    CHECK(std::isinf(list.min_shared(binary)));
    CHECK(share.min_shared(binary) < 0);  // even pairs that share nothing
    CHECK(share.estimate(binary, shared).cheapest() == Path::Shared);
    CHECK(share.estimate(graded, full).cheapest() == Path::Graded);
    CHECK(dense.estimate(binary, spikes(0)).cheapest() == Path::Dense);
    CHECK(no_dense.estimate(binary, full).cheapest() == Path::Ones);
    CHECK(dense.estimate(traits(Format::Wide, 999), full).cheapest() == Path::Weighted);
}

TEST(statistics_count_what_lies_under_the_rows) {
    // A 3 x 3 kernel with padding 1 over 4 rows: output row y reads rows y - 1, y, y + 1.
    const Geometry geometry({3, 3}, {1, 1}, {1, 1}, {1, 1}, 4, 5);
    int64_t row_spikes[] = {1, 20, 300, 4000}, row_active[] = {1, 2, 3, 4};
    int64_t row_shared[] = {1, 0, 10, 0, 0, 5, 7, 0};  // [row][pair]
    Tally tally;
    tally.row_spikes = row_spikes;
    tally.row_active[int(View::Steps)] = row_active;
    tally.row_shared = row_shared;
    uint64_t row_active_steps[] = {8, 4, 2, 2};  // the first spike of rows 0 to 3: step 3, 2, 1, 1
    tally.row_active_steps = row_active_steps;
    Spikes steps;
    steps.steps = 4;
    const Source source{steps, tally, View::Steps, 1, 1};
    const SpikeStatistics top = statistics_of(geometry, source, {0, 1}, 10);
    CHECK_EQUAL(top.rows, 1);
    CHECK_EQUAL(top.row_blocks, 2);  // steps 2 and 3
    CHECK_EQUAL(top.input_row_blocks, 2 * 2);
    CHECK_EQUAL(top.spikes, 21);
    CHECK_EQUAL(top.active, 3);
    CHECK_EQUAL(spikes_shared(geometry, source, 0, 0), 11);
    CHECK_EQUAL(spikes_shared(geometry, source, 3, 1), 5);
    CHECK_EQUAL(top.shared_pairs, 1);
    CHECK_EQUAL(top.shared_spikes, 11);
    const SpikeStatistics all = statistics_of(geometry, source, {0, 4}, 10);
    CHECK_EQUAL(all.rows, 4);
    CHECK_EQUAL(all.row_blocks, 2 + 3 + 3 + 3);
    CHECK_EQUAL(all.input_row_blocks, 2 * 2 + 3 * 3 + 3 * 3 + 2 * 3);
    CHECK_EQUAL(all.spikes, 21 + 321 + 4320 + 4300);
    CHECK_EQUAL(all.max_row_spikes, 4320);
    CHECK_EQUAL(all.shared_pairs, 3);  // rows 0 to 2 share 11, 11 and 17 in pair 0, row 3 only 7
    CHECK_EQUAL(all.shared_spikes, 11 + 11 + 17);
}

TEST(costs_can_be_printed) {
    PathCosts costs;
    costs[Path::Ones] = 1234.4;
    costs[Path::Dense] = 5000;
    CHECK_EQUAL(to_string(costs), std::string("ones 1234, dense 5000 ns"));
}
