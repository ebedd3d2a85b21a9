#include <algorithm>

#include "check.hpp"
#include "engine/core/memory_plan.hpp"
#include "engine_models.hpp"

using namespace lmht;

static bool overlap(size_t a, size_t a_bytes, size_t b, size_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
}

// A chain of `layers` convolutions with a pooling and a Flatten in it.
static void build(Model& model, int layers, int channels, int steps, int max_count, int levels) {
    model.add_input(2, 12, 10, steps, 0, max_count);
    int last = 0;
    for (int i = 0; i < layers; ++i) last = add_convolution(model, last, channels, 3, 1, levels);
    last = model.add_pool(last, {2, 2}, {2, 2}, {0, 0}, false);
    last = model.add_flatten(last);
    last = add_convolution(model, last, 70, 1);
    add_classes(model, last, 5);
}

static void check_plan(const MemoryPlan& plan) {
    const auto& buffers = plan.buffers;
    for (size_t i = 0; i < buffers.size(); ++i) {
        CHECK(buffers[i].offset + buffers[i].bytes <= plan.bytes);
        CHECK_EQUAL(buffers[i].offset % CACHE_LINE, 0u);
        for (size_t j = 0; j < i; ++j)
            CHECK(
                !buffers[i].overlaps_in_time(buffers[j]) ||
                !overlap(buffers[i].offset, buffers[i].bytes, buffers[j].offset, buffers[j].bytes));
    }
    for (size_t i = 0; i < plan.tensors.size(); ++i)
        CHECK_EQUAL(plan.tensors[i].bytes, buffers[i].bytes);
}

TEST(buffers_that_are_in_use_together_never_overlap) {
    for (const int threads : {1, 2, 3})
        for (const int levels : {1, 3, 300})
            for (const int steps : {1, 4}) {
                Model model(choose_kernels("generic"));
                build(model, 5, 70, steps, 3, levels);
                check_plan(MemoryPlan(model, threads));
            }
}

TEST(a_layer_and_its_inputs_are_in_use_together) {
    Model model(choose_kernels("generic"));
    build(model, 3, 70, 4, 1, 1);
    const MemoryPlan plan(model, 1);
    for (size_t i = 0; i < model.layers.size(); ++i) {
        if (!model.layers[i].synaptic || model.layers[i].synaptic->is_readout()) continue;
        for (const Synapse& synapse : model.layers[i].synaptic->synapses)
            CHECK(plan.buffers[i].overlaps_in_time(plan.buffers[synapse.source]));
    }
}

TEST(a_deep_chain_reuses_memory) {
    Model shallow(choose_kernels("generic")), deep(choose_kernels("generic"));
    build(shallow, 3, 70, 4, 1, 1);
    build(deep, 9, 70, 4, 1, 1);
    CHECK_EQUAL(MemoryPlan(shallow, 1).bytes, MemoryPlan(deep, 1).bytes);
    size_t sum = 0;
    const MemoryPlan plan(deep, 1);
    for (const Buffer& buffer : plan.buffers) sum += buffer.bytes;
    CHECK(plan.bytes < sum);
}

TEST(threads_add_their_own_lists_and_currents) {
    Model model(choose_kernels("generic"));
    build(model, 2, 64, 4, 1, 1);
    const MemoryPlan one(model, 1), three(model, 3);
    CHECK_EQUAL(one.threads.size(), 1u);
    CHECK_EQUAL(three.threads.size(), 3u);
    CHECK(one.bytes < three.bytes);
}

TEST(first_fit_shares_memory_of_different_times) {
    std::vector<Buffer> buffers{
        {"a", 128, 0, 1}, {"b", 64, 1, 2}, {"c", 64, 2, 3}, {"d", 64, 2, 3}};
    CHECK_EQUAL(place(buffers), 192u);
    CHECK_EQUAL(buffers[0].offset, 0u);
    CHECK_EQUAL(buffers[1].offset, 128u);
    CHECK_EQUAL(buffers[2].offset, 0u);
    CHECK_EQUAL(buffers[3].offset, 64u);
}

TEST(arrays_of_a_tensor_do_not_overlap) {
    for (const int max : {1, 3, 300}) {
        Tensor tensor{.channels = 70,
                      .height = 3,
                      .width = 5,
                      .steps = 4,
                      .substeps = 2,
                      .min = 0,
                      .max = max};
        std::fill_n(tensor.reads, VIEWS, true);
        const TensorLayout layout(tensor);
        std::vector<uint64_t> memory(layout.bytes / sizeof(uint64_t), 0);
        const Activation out = layout.in(reinterpret_cast<unsigned char*>(memory.data()));
        for (const Spikes& view : out.views) {  // fill every array: others must stay as they are
            std::fill_n(view.mask, view.all_words(), 1);
            if (view.count) std::fill_n(view.count, view.all_words() * LANES, 2);
            if (view.wide) std::fill_n(view.wide, view.all_words() * LANES, 3);
            if (view.packed) std::fill_n(view.packed, view.all_words(), 6);
        }
        std::fill_n(out.tally.events, 15, 4);
        std::fill_n(out.tally.row_shared, 3 * 2, 5);
        for (const Spikes& view : out.views) {
            CHECK_EQUAL(std::count(view.mask, view.mask + view.all_words(), 1u),
                        ptrdiff_t(view.all_words()));
            if (view.count)
                CHECK_EQUAL(std::count(view.count, view.count + view.all_words() * LANES, 2),
                            ptrdiff_t(view.all_words() * LANES));
            if (view.packed)
                CHECK_EQUAL(std::count(view.packed, view.packed + view.all_words(), 6u),
                            ptrdiff_t(view.all_words()));
            if (view.wide)
                CHECK_EQUAL(std::count(view.wide, view.wide + view.all_words() * LANES, 3),
                            ptrdiff_t(view.all_words() * LANES));
        }
        CHECK_EQUAL(out.tally.events == out.tally.spikes, max == 1);
        CHECK_EQUAL(std::count(out.tally.events, out.tally.events + 15, 4), 15);
        CHECK_EQUAL(out.tally.row_active[int(View::Steps)] == out.tally.row_events, true);
    }
}

TEST(counts_lie_in_an_image_where_tiles_read_them) {
    Tensor tensor{
        .channels = 128, .height = 3, .width = 5, .steps = 4, .substeps = 2, .min = 0, .max = 3};
    const Extent padding{1, 6};
    const Geometry geometry({3, 2}, {1, 1}, padding, {1, 1}, tensor.height, tensor.width);
    const View views[] = {View::Steps, View::Blocks, View::Window};
    for (const View view : views) {
        tensor.reads[int(view)] = true;
        tensor.images[int(view)].emplace(geometry, tensor.channels, tensor.steps_of(view));
    }
    const TensorLayout layout(tensor);
    std::vector<uint64_t> memory(layout.bytes / sizeof(uint64_t), 0);
    const Activation out = layout.in(reinterpret_cast<unsigned char*>(memory.data()));
    const auto image_of = [&](View view) {
        return out.view(view).count - tensor.images[int(view)]->first_pixel();
    };
    for (const View view : views) {  // fill every array: others must stay as they are
        std::fill_n(out.view(view).mask, out.view(view).all_words(), 1);
        std::fill_n(image_of(view), tensor.images[int(view)]->bytes(), 2);
    }
    std::fill_n(out.tally.events, 15, 4);
    for (const View view : views) {
        const Spikes& spikes = out.view(view);
        const ImageLayout& image = *tensor.images[int(view)];
        CHECK_EQUAL(std::count(spikes.mask, spikes.mask + spikes.all_words(), 1u),
                    ptrdiff_t(spikes.all_words()));
        CHECK_EQUAL(std::count(image_of(view), image_of(view) + image.bytes(), 2),
                    ptrdiff_t(image.bytes()));
        for (int step = 0; step < spikes.steps; ++step)
            for (int y = 0; y < spikes.height; ++y)
                for (int x = 0; x < spikes.width; ++x)
                    CHECK(spikes.count + spikes.word(step, y, x) * LANES ==
                          image_of(view) + image.at(step, y + padding.y) +
                              (x + padding.x) * image.pixel_bytes());
    }
    CHECK_EQUAL(std::count(out.tally.events, out.tally.events + 15, 4), 15);
}

TEST(views_with_equal_values_share_memory) {
    const Tensor tensor{
        .channels = 3, .height = 2, .width = 2, .steps = 4, .substeps = 1, .min = 0, .max = 1};
    const TensorLayout layout(tensor);
    std::vector<uint64_t> memory(layout.bytes / sizeof(uint64_t));
    const Activation out = layout.in(reinterpret_cast<unsigned char*>(memory.data()));
    CHECK(out.view(View::Blocks).mask == out.view(View::Steps).mask);
    CHECK(out.view(View::Window).mask == nullptr);  // nobody reads it
}

TEST(sums_of_a_window_keep_the_format_of_a_step) {
    const auto view_of = [](int channels, int max) {
        Model model(choose_kernels("generic"));
        model.add_input(channels, 5, 4, 4, 0, max);
        add_classes(model, 0, 3);
        return model.layers.back().synaptic->synapses.front().view;
    };
    CHECK(view_of(2, 63) == View::Window);   // 252 fits a byte
    CHECK(view_of(2, 64) == View::Compact);  // 256 does not
    CHECK(view_of(8, 255) == View::Compact);
    CHECK(view_of(9, 64) == View::Steps);    // not packed
    CHECK(view_of(2, 256) == View::Window);  // no step fits, either
}

static int add_sum_pool(Model& model, int source, int size = 2) {
    return model.add_pool(source, {size, size}, {size, size}, {0, 0}, false);
}

TEST(sums_of_a_window_are_pooled_where_nobody_reads_the_steps) {
    Model model(choose_kernels("generic"));
    model.add_input(9, 16, 16, 4, 0, 1);
    const auto uniform = [&](int source) {
        return add_convolution(model, source, 70, 3, 1, 1, true);
    };
    const int first = uniform(0);
    const int once = add_sum_pool(model, first), twice = add_sum_pool(model, once);
    const int small = uniform(twice);
    const int max = model.add_pool(first, {2, 2}, {2, 2}, {0, 0}, true);
    const int steps = add_convolution(model, add_sum_pool(model, first), 70, 3);
    const int other = add_sum_pool(model, uniform(max)), wide = add_sum_pool(model, first, 8);
    const int flat = model.add_flatten(small),
              flat_pool = model.add_flatten(add_sum_pool(model, small));
    const int flat_steps = model.add_flatten(steps);
    uniform(wide);
    uniform(other);
    uniform(flat);
    uniform(flat_pool);
    const int both = add_sum_pool(model, small);
    uniform(both);
    add_convolution(model, both, 70, 3);
    add_convolution(model, flat_steps, 70, 1);
    add_classes(model, add_convolution(model, flat_steps, 70, 1), 5);
    std::vector<int> summed;
    for (size_t i = 0; i < model.tensors.size(); ++i)
        if (model.tensors[i].writes_window) summed.push_back(int(i));
    CHECK_EQUAL(summed, (std::vector<int>{twice, other, flat, flat_pool - 1, flat_pool}));
    const MemoryPlan plan(model, 1);
    std::vector<unsigned char> memory(plan.bytes);
    const auto view = [&](int tensor, View view) {
        return plan.tensors[tensor].in(memory.data()).view(view);
    };
    CHECK(view(once, View::Steps).count && !view(once, View::Window).mask);
    CHECK(view(twice, View::Steps).mask && !view(twice, View::Steps).count);
    CHECK(view(twice, View::Window).count);
    CHECK(view(flat, View::Window).count);
    CHECK(view(both, View::Steps).count && view(both, View::Window).count);
}

TEST(windows_are_fired_at_once_before_a_flatten) {
    Model model(choose_kernels("generic"));
    model.add_input(2, 4, 4, 4, 0, 1);
    const int before_pool = add_convolution(model, 0, 9, 3, 1, 1, true);
    const int last = add_convolution(model, add_sum_pool(model, before_pool), 9, 3, 1, 1, true);
    add_classes(model, model.add_flatten(last), 3);
    CHECK(model.layers[before_pool].synaptic->window_thresholds.empty());  // its steps are counted
    CHECK(!model.layers[last].synaptic->window_thresholds.empty());
}

TEST(order_follows_weights_and_rows) {
    Model model(choose_kernels("generic"));
    model.add_input(64, 12, 12, 2, 0, 1);
    const int small = add_convolution(model, 0, 128, 3);
    const int large = add_convolution(model, add_convolution(model, small, 512, 1), 512, 3);
    const int few_rows =
        add_convolution(model, model.add_pool(large, {6, 6}, {6, 6}, {0, 0}, true), 128, 1);
    add_classes(model, few_rows, 70);
    const auto order = [&](int layer, size_t cache_bytes = MAX_CACHE_BYTES) {
        return order_of(*model.layers[layer].synaptic, 2, false, cache_bytes);
    };
    CHECK(order(small) == Order::Rows);
    CHECK(order(small, size_t(1) << 16) == Order::Slices);
    CHECK(order(large) == Order::Slices);
    CHECK(order(few_rows) == Order::Slices);
    CHECK(order(int(model.layers.size()) - 1) == Order::Rows);
}

TEST(a_plan_can_be_printed) {
    Model model(choose_kernels("generic"));
    build(model, 1, 8, 2, 1, 1);
    const MemoryPlan plan(model, 1);
    const std::string table = to_string(plan);
    CHECK(table.find("output of layer 0") != std::string::npos);
    CHECK(table.find("lists of thread 0") != std::string::npos);
    CHECK(table.find(std::to_string(plan.bytes) + " bytes") != std::string::npos);
}
