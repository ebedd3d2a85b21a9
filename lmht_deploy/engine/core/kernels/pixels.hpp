// Counts of pixels as bytes side by side: the rows of an image that tiles read.
#pragma once
#include "values.hpp"

namespace lmht {
namespace {

// The counts of the word `word`, a byte per channel.
template <class Tier, bool PACKED>
LMHT_INLINE void copy_word(const Spikes& in, size_t word, uint8_t* to) {
    if (PACKED) {
        memcpy(to, in.packed + word, sizeof in.packed[word]);
    } else if (in.format == Format::Counts) {
        memcpy(to, in.count + word * LANES, LANES);
    } else {
        typename Tier::Counts counts;
        Tier::count(counts, in.mask[word]);
        Tier::put(counts, to);
    }
}

// A whole word spills zeros over what follows the channels. They are overwritten by the next pixel;
// behind the last one they must not be written.
template <class Tier, bool PACKED>
LMHT_INLINE void copy_all_pixels(const PixelCopy& copy) {
    constexpr size_t WORD_BYTES = PACKED ? sizeof(uint64_t) : LANES;
    const Spikes& in = *copy.source;
    const uint8_t* const end = copy.to + size_t(copy.pixels) * in.channels;
    uint8_t* pixel = copy.to;
    size_t word = in.word(copy.block, copy.y, copy.x);
    for (int p = 0; p < copy.pixels;
         ++p, word += size_t(copy.step) * in.words, pixel += in.channels)
        for (int w = 0; w < in.words; ++w) {
            uint8_t* const to = pixel + w * LANES;
            if (to + WORD_BYTES <= end) {
                copy_word<Tier, PACKED>(in, word + w, to);
            } else {
                uint8_t bytes[WORD_BYTES];
                copy_word<Tier, PACKED>(in, word + w, bytes);
                memcpy(to, bytes, size_t(end - to));
            }
        }
}

// Whether the counts of the pixels lie side by side as in an image.
inline bool are_side_by_side(const PixelCopy& copy) {
    const Spikes& in = *copy.source;
    return in.format == Format::Counts && copy.step == 1 && in.channels == in.words * LANES;
}

template <class Tier>
void copy_pixels(const PixelCopy& copy) {
    const Spikes& in = *copy.source;
    if (are_side_by_side(copy))
        memcpy(copy.to, in.count + in.word(copy.block, copy.y, copy.x) * LANES,
               size_t(copy.pixels) * in.channels);
    else if (in.format == Format::Packed)
        copy_all_pixels<Tier, true>(copy);
    else
        copy_all_pixels<Tier, false>(copy);
}

}  // namespace
}  // namespace lmht
