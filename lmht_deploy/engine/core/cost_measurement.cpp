#include "cost_measurement.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>

#include "engine.hpp"
#include "path_choice.hpp"

namespace lmht {
namespace {

constexpr int STEPS = 2, KERNEL = 3, MAX_COUNT = 4;
constexpr int FEW = 32, MANY = 4;  // one of so many inputs is active

// The inputs of a probe.
struct Shape {
    int channels, height, width;

    double rows() const { return height - KERNEL + 1; }      // of the output
    double positions() const { return width + KERNEL - 1; }  // of a row of the input
    double pitch() const { return width + KERNEL / 2; }      // of a row of its image
    double tiles() const { return std::ceil((rows() * pitch() - KERNEL / 2) / TILE_SIZE); }
};
constexpr Shape SMALL{64, 10, 2 * TILE}, LARGE{512, 4, TILE};

// All probes run in turn, and the shortest time of each counts: a busy machine, or one whose clock
// rises, slows all of them alike. Rounds beside another process take longer than ENOUGH, but two of
// them would hardly find each probe undisturbed.
constexpr int MIN_ROUNDS = 8, MAX_ROUNDS = 16, REPETITIONS = 3;
// The unit that multiplies tiles runs at a fraction of its rate until the clock and the voltage of
// the core have followed, some microseconds later.
constexpr int TILE_REPETITIONS = 10;
constexpr std::chrono::milliseconds ENOUGH{15};

// ----------------------------------------------------------------------------------------------
// from samples to costs

double slope(const CostSample& few, const CostSample& many, double CostSample::* amount) {
    return (many.nanoseconds - few.nanoseconds) / (many.*amount - few.*amount);
}

float limited(double cost, double expected, double deviation = MAX_DEVIATION) {
    return float(std::clamp(cost, expected / deviation, expected * deviation));
}

Costs times(Costs costs, double factor) {
    for (float* cost :
         {&costs.binary_row, &costs.graded_row, &costs.weighted_row, &costs.dense_slot,
          &costs.dense_pixel, &costs.tile_product, &costs.tile_pixel, &costs.dense_word,
          &costs.list_pixel, &costs.graded_pixel, &costs.list_word, &costs.extra_list_pixel,
          &costs.streamed_byte})
        *cost = float(*cost * factor);
    return costs;
}

// What is left of a sample for each output pixel.
double list_pixel(const CostSample& sample, double row, const Costs& costs) {
    return (sample.nanoseconds - sample.rows * row - sample.words * costs.list_word) /
           sample.pixels;
}

// `costs` are those of the table, in nanoseconds; these functions replace what the samples tell.
void set_list_costs(Costs& costs, const CostSamples& samples) {
    const CostSample& few = samples.few;
    const double large_row = slope(samples.large_few, samples.large_many, &CostSample::rows);
    costs.large_slice_factor = std::max(limited(large_row / costs.binary_row, 1), 1.0f);
    costs.graded_row = limited(slope(samples.graded_few, samples.graded_many, &CostSample::rows),
                               costs.graded_row);
    costs.list_pixel = limited(list_pixel(few, costs.binary_row, costs), costs.list_pixel);
    costs.graded_pixel =
        limited(list_pixel(samples.graded_few, costs.graded_row, costs), costs.graded_pixel);
    const double extra = samples.shared.nanoseconds - samples.many.nanoseconds +
                         samples.shared_rows * costs.binary_row;
    costs.extra_list_pixel =
        limited(extra * STEPS / few.pixels, costs.extra_list_pixel, MAX_DEVIATION_OF_UNSURE);
}

// Solves x * a + y * b = nanoseconds for both samples.
std::array<double, 2> solve(const CostSample& one, const CostSample& other, double CostSample::* a,
                            double CostSample::* b) {
    const double determinant = one.*a * other.*b - other.*a * one.*b;
    return {(one.nanoseconds * other.*b - other.nanoseconds * one.*b) / determinant,
            (one.*a * other.nanoseconds - other.*a * one.nanoseconds) / determinant};
}

void set_dense_costs(Costs& costs, CostSample dense, CostSample large) {
    for (CostSample* sample : {&dense, &large})
        sample->nanoseconds -= sample->words * costs.dense_word;
    const bool tiles = costs.tile_product != 0;
    float& unit = tiles ? costs.tile_product : costs.dense_slot;
    float& pixel = tiles ? costs.tile_pixel : costs.dense_pixel;
    const auto found = tiles ? solve(dense, large, &CostSample::products, &CostSample::tile_pixels)
                             : solve(dense, large, &CostSample::inputs, &CostSample::pixels);
    unit = limited(found[0], unit, tiles ? MAX_DEVIATION_OF_UNSURE : MAX_DEVIATION);
    pixel = limited(found[1], pixel);
}

// ----------------------------------------------------------------------------------------------
// probes

// Whether an input is active that one of `every` is. No branch predictor learns these.
bool is_active(uint32_t input, uint32_t every) {
    uint32_t hash = input * 2654435761u;
    hash = (hash ^ hash >> 15) * 2246822519u;
    return (hash >> 13) % every == 0;
}

// A convolution to 64 channels whose neurons never fire. It has no padding above and below: every
// output row has the same inputs.
std::shared_ptr<const Model> probe_model(const Kernels& kernels, PathPolicy policy, Shape shape,
                                         int max_count) {
    const auto model = std::make_shared<Model>(&kernels, kernels.costs, policy);
    const std::vector<int8_t> weight(size_t(LANES) * shape.channels * KERNEL * KERNEL, 1);
    const std::vector<int32_t> zero(LANES, 0), never(LANES, INT32_MAX);
    const int32_t identity[STEPS * STEPS] = {1, 0, 0, 1};
    SynapseSpec spec{
        .source = model->add_input(shape.channels, shape.height, shape.width, STEPS, 0, max_count),
        .weight = weight.data(),
        .channels_out = LANES,
        .kernel = {KERNEL, KERNEL},
        .stride = {1, 1},
        .padding = {0, KERNEL / 2},
        .dilation = {1, 1},
        .groups = 1,
        .exponent = 0,
        .counted = true};
    spec.source = model->add_neurons({spec}, {.bias = zero.data(),
                                              .threshold = never.data(),
                                              .v0 = zero.data(),
                                              .omega = identity,
                                              .steps = STEPS,
                                              .substeps = 1,
                                              .levels = 1,
                                              .leak = LEAK_ONE});
    // A read-out of few weights: those of the next layer are fetched meanwhile.
    const Extent all{int(shape.rows()), shape.width};
    spec.source = model->add_pool(spec.source, all, all, {0, 0}, false);
    spec.channels_out = 1;
    spec.kernel = {1, 1};
    spec.padding = {0, 0};
    model->add_readout({spec}, zero.data(), 1, true);
    return model;
}

class Probe {
public:
    // One of `every` inputs is active.
    Probe(const std::shared_ptr<const Model>& model, Shape shape, int every)
        : engine_(model, 1),
          repetitions_(model->policy == PathPolicy::Dense && model->kernels->multiply
                           ? TILE_REPETITIONS
                           : REPETITIONS),
          window_(size_t(STEPS) * shape.channels * shape.height * shape.width) {
        const int max_count = int(model->tensors[0].max);
        for (uint32_t i = 0; i < window_.size(); ++i)
            if (is_active(i, uint32_t(every))) window_[i] = 1 + int32_t(i) % max_count;
        const double words = shape.channels / LANES, places = KERNEL * shape.rows() * STEPS;
        sample_.pixels = shape.rows() * shape.width * STEPS;
        sample_.words = places * shape.positions() * words;
        sample_.inputs = sample_.pixels * KERNEL * KERNEL * shape.channels;
        sample_.tile_pixels = shape.rows() * shape.pitch() * STEPS;
        sample_.products =
            shape.tiles() * STEPS * (LANES / TILE_SIZE) * KERNEL * KERNEL * shape.channels / DEPTH;
    }

    // The first run of some loads the caches.
    void run() {
        for (int i = 0; i < repetitions_; ++i) run_once();
    }

    const CostSample& sample() const { return sample_; }

private:
    void run_once() {
        LayerProfile profile[4];  // of the input, the neurons, the pool and the read-out
        int64_t logits, spikes, events, sops[2], event_sops[2];
        engine_.run(window_.data(), 1, {&logits, &spikes, &events, sops, event_sops, {}, profile});
        const double taken = double(profile[1].nanoseconds);
        if (sample_.nanoseconds == 0 || taken < sample_.nanoseconds) sample_.nanoseconds = taken;
        sample_.rows = graded_rows(double(event_sops[0]), double(sops[0])) / LANES;
    }

    Engine engine_;
    int repetitions_;
    std::vector<int32_t> window_;
    CostSample sample_;
};

// The probes of all samples.
class Probes {
public:
    explicit Probes(const Kernels& kernels) {
        const auto model = [&](PathPolicy policy, Shape shape, int max_count) {
            return probe_model(kernels, policy, shape, max_count);
        };
        add_pair(&CostSamples::few, &CostSamples::many, model(PathPolicy::List, SMALL, 1), SMALL);
        add_pair(&CostSamples::large_few, &CostSamples::large_many,
                 model(PathPolicy::List, LARGE, 1), LARGE);
        add_pair(&CostSamples::graded_few, &CostSamples::graded_many,
                 model(PathPolicy::List, SMALL, MAX_COUNT), SMALL);
        add(&CostSamples::shared, model(PathPolicy::Shared, SMALL, 1), SMALL, MANY);
        if (kernels.dense_max == 0) return;
        add(&CostSamples::dense, model(PathPolicy::Dense, SMALL, 1), SMALL, MANY);
        add(&CostSamples::large_dense, model(PathPolicy::Dense, LARGE, 1), LARGE, MANY);
    }

    void run() {
        using Clock = std::chrono::steady_clock;
        const Clock::time_point start = Clock::now();
        for (int round = 0;
             round < MIN_ROUNDS || (round < MAX_ROUNDS && Clock::now() - start < ENOUGH); ++round)
            for (Named& named : probes_) named.probe->run();
    }

    CostSamples samples() const {
        CostSamples samples;
        for (const Named& named : probes_) samples.*named.sample = named.probe->sample();
        samples.shared_rows = samples.many.rows / (STEPS * MANY);
        return samples;
    }

private:
    using Sample = CostSample CostSamples::*;
    struct Named {
        Sample sample;
        std::unique_ptr<Probe> probe;
    };

    void add(Sample sample, const std::shared_ptr<const Model>& model, Shape shape, int every) {
        probes_.push_back({sample, std::make_unique<Probe>(model, shape, every)});
    }

    void add_pair(Sample few, Sample many, const std::shared_ptr<const Model>& model, Shape shape) {
        add(few, model, shape, FEW);
        add(many, model, shape, MANY);
    }

    std::vector<Named> probes_;
};

Costs measure(const Kernels& kernels) {
    Probes probes(kernels);
    probes.run();
    return costs_from(probes.samples(), kernels.costs);
}

}  // namespace

Costs costs_from(const CostSamples& samples, const Costs& table) {
    const double row = slope(samples.few, samples.many, &CostSample::rows);
    if (!(row > 0)) return table;
    Costs costs = times(table, row / table.binary_row);
    set_list_costs(costs, samples);
    if (samples.dense.nanoseconds > 0) set_dense_costs(costs, samples.dense, samples.large_dense);
    return costs;
}

const Costs& measured_costs(const Kernels& kernels) {
    static std::mutex mutex;
    static std::map<const Kernels*, Costs> measured;
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = measured.find(&kernels);
    return found != measured.end() ? found->second
                                   : measured.emplace(&kernels, measure(kernels)).first->second;
}

}  // namespace lmht
