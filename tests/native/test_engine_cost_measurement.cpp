#include "engine/core/cost_measurement.hpp"

#include <cmath>

#include "check.hpp"

using namespace lmht;

// A processor whose costs are not those of the table, which has them in another unit.
static constexpr Costs TABLE{.binary_row = 2,
                             .graded_row = 2.5f,
                             .weighted_row = 10,
                             .large_slice_factor = 1.5f,
                             .dense_slot = 0.5f,
                             .dense_pixel = 20,
                             .dense_word = 4,
                             .list_pixel = 30,
                             .graded_pixel = 50,
                             .list_word = 8,
                             .extra_list_pixel = 40};
static constexpr Costs TRUE{.binary_row = 0.5f,
                            .graded_row = 0.75f,
                            .weighted_row = 2.5f,
                            .large_slice_factor = 1.75f,
                            .dense_slot = 0.25f,
                            .dense_pixel = 8,
                            .dense_word = 1,
                            .list_pixel = 10,
                            .graded_pixel = 18,
                            .list_word = 2,
                            .extra_list_pixel = 14};

static CostSample listed(double rows, double row, double pixels = 100, double words = 30) {
    const double time = rows * row + pixels * TRUE.list_pixel + words * TRUE.list_word;
    return {.nanoseconds = time, .rows = rows, .pixels = pixels, .words = words};
}

static CostSample dense(double inputs, double pixels, double words) {
    const double time =
        inputs * TRUE.dense_slot + pixels * TRUE.dense_pixel + words * TRUE.dense_word;
    return {.nanoseconds = time, .pixels = pixels, .words = words, .inputs = inputs};
}

static CostSamples samples() {
    CostSamples found;
    const double large_row = TRUE.binary_row * TRUE.large_slice_factor;
    found.few = listed(100, TRUE.binary_row);
    found.many = listed(900, TRUE.binary_row);
    found.large_few = listed(100, large_row, 10, 99);
    found.large_many = listed(900, large_row, 10, 99);
    found.graded_few = listed(100, TRUE.graded_row);
    found.graded_many = listed(900, TRUE.graded_row);
    for (CostSample* graded : {&found.graded_few, &found.graded_many})
        graded->nanoseconds += graded->pixels * (TRUE.graded_pixel - TRUE.list_pixel);
    found.dense = dense(9 * 64 * 100, 100, 30);
    found.large_dense = dense(9 * 512 * 10, 10, 99);
    found.shared_rows = 100;
    found.shared = found.many;
    found.shared.nanoseconds += 50 * TRUE.extra_list_pixel - 100 * TRUE.binary_row;
    return found;
}

// The same of a tier that multiplies tiles: its table, and samples of these costs.
static Costs tiled_table() {
    Costs table = TABLE;
    table.tile_product = 18;
    table.tile_pixel = 28;
    return table;
}

static CostSamples tiled_samples(double product, double pixel) {
    const auto multiplied = [&](double products, double pixels) {
        const double time = products * product + pixels * pixel;
        return CostSample{.nanoseconds = time, .tile_pixels = pixels, .products = products};
    };
    CostSamples found = samples();
    found.dense = multiplied(100, 60);
    found.large_dense = multiplied(300, 40);
    return found;
}

static bool close(double a, double b) {
    return std::abs(a - b) <= 1e-4 * std::abs(b);
}

TEST(the_costs_explain_the_samples) {
    const Costs costs = costs_from(samples(), TABLE);
    for (float Costs::* cost :
         {&Costs::binary_row, &Costs::graded_row, &Costs::weighted_row, &Costs::large_slice_factor,
          &Costs::dense_slot, &Costs::dense_pixel, &Costs::dense_word, &Costs::list_pixel,
          &Costs::graded_pixel, &Costs::list_word, &Costs::extra_list_pixel})
        CHECK(close(costs.*cost, TRUE.*cost));
    CHECK_EQUAL(costs.tile_product, 0.0f);
}

TEST(products_of_tiles_are_measured_where_the_tier_has_them) {
    const Costs costs = costs_from(tiled_samples(4, 5), tiled_table());
    CHECK(close(costs.tile_product, 4));
    CHECK(close(costs.tile_pixel, 5));
    CHECK(close(costs.dense_slot, 0.25 * TABLE.dense_slot));
}

TEST(a_measurement_that_failed_does_not_count) {
    CostSamples found = samples();
    found.dense.nanoseconds *= 100;  // the machine was busy
    Costs costs = costs_from(found, TABLE);
    CHECK(costs.dense_slot * MAX_DEVIATION >= 0.999 * 0.25 * TABLE.dense_slot);
    CHECK(costs.dense_pixel <= 1.001 * MAX_DEVIATION * 0.25 * TABLE.dense_pixel);
    CHECK(close(costs.binary_row, TRUE.binary_row));
    found.many.nanoseconds = found.few.nanoseconds;
    costs = costs_from(found, TABLE);
    CHECK_EQUAL(costs.binary_row, TABLE.binary_row);
    CHECK_EQUAL(costs.dense_slot, TABLE.dense_slot);
}

TEST(costs_that_are_measured_badly_stay_near_the_table) {
    CostSamples found = tiled_samples(40, 5);
    found.shared.nanoseconds *= 10;
    const Costs costs = costs_from(found, tiled_table());
    CHECK(close(costs.tile_product, 0.25 * 18 * MAX_DEVIATION_OF_UNSURE));
    CHECK(close(costs.extra_list_pixel, 0.25 * TABLE.extra_list_pixel * MAX_DEVIATION_OF_UNSURE));
}

TEST(costs_are_measured_once) {
    for (const std::string& isa : available_isas()) {
        const Kernels& kernels = *choose_kernels(isa);
        const Costs& costs = measured_costs(kernels);
        CHECK(&costs == &measured_costs(kernels));
        CHECK(costs.binary_row > 0);
        CHECK(costs.large_slice_factor >= 1);
        CHECK_EQUAL(costs.tile_product > 0, kernels.costs.tile_product > 0);
    }
}
