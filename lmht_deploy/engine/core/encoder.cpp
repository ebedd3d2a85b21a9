#include "encoder.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace lmht {

bool lie_within(const int32_t* values, size_t n, int64_t min, int64_t max) {
    const int32_t low = int32_t(std::max<int64_t>(min, INT32_MIN)),
                  high = int32_t(std::min<int64_t>(max, INT32_MAX));
    int32_t outside = 0;
    for (size_t i = 0; i < n; ++i) outside |= (values[i] < low) | (values[i] > high);
    return !outside;
}

int32_t value_at(const Spikes& spikes, size_t word, int bit) {
    if (!(spikes.mask[word] >> bit & 1)) return 0;
    const size_t at = word * LANES + bit;
    switch (spikes.format) {
        case Format::Wide:
            return spikes.wide[at];
        case Format::Counts:
            return spikes.count[at];
        case Format::Packed:
            return int32_t(spikes.packed[word] >> (8 * bit) & 255);
        default:
            return 1;
    }
}

void put_value(const Spikes& spikes, size_t word, int bit, int32_t value) {
    const size_t at = word * LANES + bit;
    spikes.mask[word] |= uint64_t(1) << bit;
    if (spikes.format == Format::Wide) spikes.wide[at] = value;
    if (spikes.format == Format::Counts) spikes.count[at] = uint8_t(value);
    if (spikes.format == Format::Packed) spikes.packed[word] |= uint64_t(value) << (8 * bit);
}

void clear(const Spikes& spikes) {
    for (size_t word = 0; word < spikes.all_words(); ++word) {
        if (!std::exchange(spikes.mask[word], 0)) continue;
        if (spikes.format == Format::Packed) spikes.packed[word] = 0;
        if (spikes.format == Format::Wide)
            std::memset(spikes.wide + word * LANES, 0, LANES * sizeof(int32_t));
        if (spikes.format == Format::Counts) std::memset(spikes.count + word * LANES, 0, LANES);
    }
}

Spikes one_step(Spikes spikes, int step) {
    const size_t word = spikes.word(step, 0, 0);
    spikes.steps = 1;
    spikes.mask += word;
    if (spikes.packed) spikes.packed += word;
    if (spikes.count) spikes.count += word * LANES;
    if (spikes.wide) spikes.wide += word * LANES;
    return spikes;
}

namespace {

// Binary values of one pixel per step: [steps][C].
void encode_flat(const int32_t* window, const Spikes& spikes) {
    for (int step = 0; step < spikes.steps; ++step)
        for (int c = 0; c < spikes.channels; c += LANES) {
            const int n = std::min(spikes.channels - c, LANES);
            uint64_t mask = 0;
            for (int i = 0; i < n; ++i) mask |= uint64_t(*window++ != 0) << i;
            spikes.mask[spikes.word(step, 0, 0) + c / LANES] = mask;
        }
}

}  // namespace

void encode(const int32_t* window, const Spikes& spikes) {
    const size_t area = size_t(spikes.height) * spikes.width;
    if (area == 1 && spikes.format == Format::Binary) return encode_flat(window, spikes);
    clear(spikes);
    for (int step = 0; step < spikes.steps; ++step)
        for (int c = 0; c < spikes.channels; ++c, window += area) {
            size_t word = spikes.word(step, 0, 0) + c / LANES;
            for (size_t pixel = 0; pixel < area; ++pixel, word += spikes.words)
                if (window[pixel]) put_value(spikes, word, c % LANES, window[pixel]);
        }
}

void encode_packed_row(const int32_t* window, const Spikes& spikes, int y) {
    const size_t area = size_t(spikes.height) * spikes.width;
    for (int step = 0; step < spikes.steps; ++step) {
        const int32_t* const row =
            window + size_t(step) * spikes.channels * area + size_t(y) * spikes.width;
        uint64_t* const mask = spikes.mask + spikes.word(step, y, 0);
        uint64_t* const packed = spikes.packed + spikes.word(step, y, 0);
        for (int x = 0; x < spikes.width; ++x) {
            packed[x] = uint32_t(row[x]);
            mask[x] = uint32_t(row[x] != 0);
        }
        for (int c = 1; c < spikes.channels; ++c)
            for (int x = 0; x < spikes.width; ++x) {
                packed[x] |= uint64_t(uint32_t(row[c * area + x])) << (8 * c);
                mask[x] |= uint64_t(uint32_t(row[c * area + x] != 0)) << c;
            }
    }
}

void decode(const Spikes& spikes, int32_t* window) {
    for (int step = 0; step < spikes.steps; ++step)
        for (int c = 0; c < spikes.channels; ++c)
            for (int y = 0; y < spikes.height; ++y)
                for (int x = 0; x < spikes.width; ++x)
                    *window++ = value_at(spikes, spikes.word(step, y, x) + c / LANES, c % LANES);
}

void flatten(const Spikes& in, const Spikes& out) {
    clear(out);
    for (int step = 0; step < in.steps; ++step)
        for (int y = 0; y < in.height; ++y)
            for (int x = 0; x < in.width; ++x)
                for (int c = 0; c < in.channels; ++c) {
                    const int32_t k = value_at(in, in.word(step, y, x) + c / LANES, c % LANES);
                    const int to = (c * in.height + y) * in.width + x;
                    if (k) put_value(out, out.word(step, 0, 0) + to / LANES, to % LANES, k);
                }
}

}  // namespace lmht
