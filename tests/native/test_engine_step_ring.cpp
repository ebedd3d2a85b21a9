#include <algorithm>
#include <set>

#include "check.hpp"
#include "engine/core/engine.hpp"
#include "engine/core/incremental.hpp"
#include "engine/core/step_ring.hpp"
#include "engine_models.hpp"

using namespace lmht;

static SynapticLayer first_layer(int slots) {
    SynapticLayer layer;
    layer.channels = 70;
    layer.height = 3;
    layer.width = 5;
    layer.blocks = slots;
    for (int t = 0; t < slots; ++t)  // step t reads the currents of all steps up to t
        for (int block = 0; block <= t; ++block) layer.terms.push_back({block, t + 1});
    return layer;
}

static Tensor input(int slots) {
    return {
        .channels = 2, .height = 3, .width = 5, .steps = slots, .substeps = 1, .min = 0, .max = 3};
}

TEST(currents_of_different_slots_rows_and_slices_are_apart) {
    const StepRing ring(first_layer(4), input(4));
    const size_t size = 5 * LANES;
    std::set<int32_t*> rows;
    for (int slot = 0; slot < 4; ++slot)
        for (int y = 0; y < 3; ++y)
            for (int slice = 0; slice < 2; ++slice) rows.insert(ring.currents(slot, y, slice));
    CHECK_EQUAL(rows.size(), 4u * 3 * 2);
    for (auto row = rows.begin(), next = std::next(row); next != rows.end(); ++row, ++next)
        CHECK(size_t(*next - *row) >= size);
    CHECK_EQUAL(ring.bytes(), rows.size() * size * sizeof(int32_t));
    CHECK_EQUAL(ring.slots(), 4);
}

TEST(terms_turn_with_the_oldest_step) {
    const SynapticLayer layer = first_layer(4);
    StepRing ring(layer, input(4));
    for (const int oldest : {0, 3, 1, 2, 0}) {  // always from the layer's own terms
        const Term* const terms = ring.terms(oldest);
        for (size_t i = 0; i < layer.terms.size(); ++i) {
            const int slot = (layer.terms[i].block + oldest) % 4;
            CHECK_EQUAL(terms[i].weight, layer.terms[i].weight);
            CHECK(ring.currents(0, 2, 1) + size_t(terms[i].block) * LANES ==
                  ring.currents(slot, 2, 1));
        }
    }
}

TEST(the_tally_of_one_step_has_room) {
    StepRing ring(first_layer(2), input(2));
    const Tally& tally = ring.tally();
    CHECK(tally.spikes - tally.events >= 3 * 5);
    CHECK(tally.row_events - tally.spikes >= 3 * 5);
    CHECK(tally.row_spikes - tally.row_events >= 3);
    for (const int64_t* active : tally.row_active) CHECK(active == tally.row_events);
}

// ----------------------------------------------------------------------------------------------
// incremental inference

static std::shared_ptr<Model> model(int levels) {
    auto made = std::make_shared<Model>(choose_kernels("generic"));
    made->add_input(2, 6, 7, 4, 0, 3);
    add_classes(*made, add_convolution(*made, add_convolution(*made, 0, 70, 3, 1, levels), 9, 3),
                5);
    return made;
}

struct Integers {
    std::vector<int64_t> logits, spikes, events, sops, event_sops;

    explicit Integers(const Model& of)
        : logits(of.layers.back().synaptic->channels),
          spikes(of.neuron_layers),
          events(spikes),
          sops(of.synaptic_layers),
          event_sops(sops) {}

    RunOutputs outputs() {
        return {.logits = logits.data(),
                .spikes = spikes.data(),
                .events = events.data(),
                .sops = sops.data(),
                .event_sops = event_sops.data(),
                .traces = {},
                .profile = nullptr};
    }
    bool operator==(const Integers&) const = default;
};

TEST(overlapping_windows_are_run_as_whole_windows_are) {
    const auto made = model(3);
    CHECK(IncrementalEngine::supports(*made));
    constexpr int STEPS = 4;
    const size_t step = 2 * 6 * 7;
    std::mt19937 random(1);
    std::vector<int32_t> stream(STEPS * step, 0);  // silence before the first step
    IncrementalEngine incremental(made, 2);
    Engine whole(made, 1);
    for (int number = 0; number < 9; ++number) {
        for (size_t i = 0; i < step; ++i)
            stream.push_back(random() % 4 ? 0 : random_between(random, 0, 3));
        const int32_t* const newest = stream.data() + stream.size() - step;
        incremental.put(number % STEPS, newest);
        Integers found(*made), expected(*made);
        incremental.run((number + 1) % STEPS, found.outputs());
        whole.run(newest - (STEPS - 1) * step, 1, expected.outputs());
        CHECK(found == expected);
    }
}

TEST(models_whose_input_has_two_readers_are_not_supported) {
    Model two(choose_kernels("generic"));
    two.add_input(2, 6, 7, 4, 0, 3);
    const int first = add_convolution(two, 0, 9, 3);
    two.add_pool(0, {2, 2}, {2, 2}, {0, 0}, true);
    add_classes(two, first, 5);
    CHECK(!IncrementalEngine::supports(two));
    Model pooled(choose_kernels("generic"));
    pooled.add_input(2, 6, 7, 4, 0, 3);
    add_classes(pooled, pooled.add_pool(0, {2, 2}, {2, 2}, {0, 0}, true), 5);
    CHECK(!IncrementalEngine::supports(pooled));
}
