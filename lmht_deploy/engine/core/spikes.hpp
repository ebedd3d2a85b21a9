// What travels between layers: spike counts k of one window, with the active ones marked.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lmht {

constexpr int LANES =
    64;  // channels in a word of the mask, and output channels in a slice of weights

constexpr int FEW = 8;  // channels whose counts fit one 64-bit word

// What a value can be. Binary spikes are their mask; the others keep values beside it.
enum class Format : uint8_t {
    Binary,
    Few,
    Counts,
    Wide
};  // 0..1, 0..255 of at most FEW channels, 0..255, any int32

inline Format format_of(int64_t low, int64_t high) {
    if (low < 0 || high > 255) return Format::Wide;
    return high > 1 ? Format::Counts : Format::Binary;
}

// A view of memory that somebody else owns. Channels are last and padded to whole words; padding is
// silent.
struct Spikes {
    int steps = 0, height = 0, width = 0, channels = 0, words = 0;
    Format format = Format::Binary;
    uint64_t* mask = nullptr;  // [steps][height][width][words]: bit c of word w is set where k of
                               // channel 64w + c is not 0
    uint64_t* few = nullptr;   // [steps][height][width]: byte c is k of channel c, Format::Few
    uint8_t* count = nullptr;  // [steps][height][width][64 words], Format::Counts
    int32_t* wide = nullptr;   // [steps][height][width][64 words], Format::Wide

    size_t word(int step, int y, int x) const {
        return ((size_t(step) * height + y) * width + x) * words;
    }
    size_t all_words() const { return size_t(steps) * height * width * words; }
};

// Steps as bits of a word; those from 63 on share the last one.
static inline uint64_t step_bit(int step) {
    return uint64_t(1) << (step < 63 ? step : 63);
}

// Of one window, summed over its steps: what counting and the choice of a path need. Signed: pixels
// can be negative.
struct Tally {
    int64_t* events = nullptr;      // [height][width]: graded spikes
    int64_t* total = nullptr;       // [height][width]: sum of k
    int64_t* row_events = nullptr;  // [height]
    int64_t* row_places[3] =
        {};  // [height]: by view, the places where its k is not 0; of the steps, `row_events`
    int64_t* row_total = nullptr;   // [height]
    int64_t* row_shared = nullptr;  // [height][steps / 2]: neurons that fire in both steps of a
                                    // pair (0 and 1, 2 and 3, ...), of binary spikes
    uint64_t* row_steps = nullptr;  // [height]: the steps in which anything fires, as `step_bit`
};

}  // namespace lmht
