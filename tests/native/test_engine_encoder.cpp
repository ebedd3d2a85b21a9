#include <algorithm>

#include "check.hpp"
#include "engine/core/encoder.hpp"
#include "engine_models.hpp"

using namespace lmht;

// Spikes of a format with the memory that they need.
struct Owned {
    std::vector<uint64_t> mask, packed;
    std::vector<uint8_t> count;
    std::vector<int32_t> wide;
    Spikes spikes;

    Owned(Format format, int steps, int channels, int height, int width) {
        spikes.steps = steps;
        spikes.height = height;
        spikes.width = width;
        spikes.channels = channels;
        spikes.words = (channels + LANES - 1) / LANES;
        spikes.close_gaps();
        spikes.format = format;
        mask.resize(spikes.all_words());
        packed.resize(spikes.all_words());
        count.resize(spikes.all_words() * LANES);
        wide.resize(spikes.all_words() * LANES);
        spikes.mask = mask.data();
        if (format == Format::Packed) spikes.packed = packed.data();
        if (format == Format::Counts) spikes.count = count.data();
        if (format == Format::Wide) spikes.wide = wide.data();
    }
};

struct Case {
    Format format;
    int channels;
    int32_t min, max;
};
static const Case CASES[] = {{Format::Binary, 1, 0, 1},        {Format::Binary, 130, 0, 1},
                             {Format::Packed, 2, 0, 255},      {Format::Packed, 8, 0, 255},
                             {Format::Counts, 9, 0, 255},      {Format::Counts, 64, 0, 3},
                             {Format::Wide, 65, -32768, 32767}};

static std::vector<int32_t> random_window(const Case& of, const Spikes& spikes, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<int32_t> window(size_t(spikes.steps) * spikes.channels * spikes.height *
                                spikes.width);
    for (int32_t& k : window) k = random() % 3 ? 0 : random_between(random, of.min, of.max);
    return window;
}

TEST(windows_survive_encoding) {
    for (const Case& of : CASES) {
        Owned owned(of.format, 3, of.channels, 4, 5);
        for (unsigned seed = 0; seed < 3; ++seed) {  // each after what the last one left
            const auto window = random_window(of, owned.spikes, seed);
            encode(window.data(), owned.spikes);
            std::vector<int32_t> found(window.size(), -1);
            decode(owned.spikes, found.data());
            CHECK_EQUAL(found, window);
        }
    }
}

TEST(packed_rows_are_encoded_as_whole_windows_are) {
    for (const int channels : {1, 2, 7, 8}) {
        const Case of{Format::Packed, channels, 0, 255};
        Owned whole(Format::Packed, 3, channels, 4, 5), rows(Format::Packed, 3, channels, 4, 5);
        std::fill(rows.mask.begin(), rows.mask.end(), ~uint64_t(0));  // of an earlier window
        std::fill(rows.packed.begin(), rows.packed.end(), ~uint64_t(0));
        const auto window = random_window(of, whole.spikes, 7);
        encode(window.data(), whole.spikes);
        for (int y = 0; y < 4; ++y) encode_packed_row(window.data(), rows.spikes, y);
        CHECK_EQUAL(rows.mask, whole.mask);
        CHECK_EQUAL(rows.packed, whole.packed);
    }
}

TEST(cleared_spikes_are_silent) {
    for (const Case& of : CASES) {
        Owned owned(of.format, 2, of.channels, 3, 3);
        encode(random_window(of, owned.spikes, 1).data(), owned.spikes);
        clear(owned.spikes);
        const auto silent = [](const auto& values) {
            return std::all_of(values.begin(), values.end(), [](auto k) { return k == 0; });
        };
        CHECK(silent(owned.mask) && silent(owned.packed) && silent(owned.count) &&
              silent(owned.wide));
    }
}

TEST(one_step_is_a_part_of_the_window) {
    for (const Case& of : CASES) {
        Owned owned(of.format, 3, of.channels, 4, 5);
        const auto window = random_window(of, owned.spikes, 2);
        encode(window.data(), owned.spikes);
        const size_t size = window.size() / 3;
        for (int step = 0; step < 3; ++step) {
            std::vector<int32_t> found(size);
            decode(one_step(owned.spikes, step), found.data());
            CHECK(std::equal(found.begin(), found.end(), window.begin() + step * size));
        }
        const std::vector<int32_t> silence(size, 0);  // replaces the middle step alone
        encode(silence.data(), one_step(owned.spikes, 1));
        std::vector<int32_t> found(window.size());
        decode(owned.spikes, found.data());
        CHECK(std::equal(found.begin(), found.begin() + size, window.begin()));
        CHECK(std::equal(found.end() - size, found.end(), window.end() - size));
        CHECK_EQUAL(std::count(found.begin() + size, found.end() - size, 0), ptrdiff_t(size));
    }
}

TEST(flatten_keeps_the_order_of_channels_rows_and_columns) {
    for (const Case& of : CASES) {
        const Format flat = of.format == Format::Packed ? Format::Counts : of.format;
        Owned in(of.format, 2, of.channels, 3, 5), out(flat, 2, of.channels * 15, 1, 1);
        const auto window = random_window(of, in.spikes, 3);
        encode(window.data(), in.spikes);
        flatten(in.spikes, out.spikes);
        std::vector<int32_t> found(window.size());
        decode(out.spikes, found.data());
        CHECK_EQUAL(found, window);
    }
}
