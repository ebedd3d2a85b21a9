// What travels between layers: spike counts k of one window, with the active ones marked.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lmht {

constexpr int LANES = 64;  // channels per word of a mask, and output channels per slice of weights
constexpr int PACKED_CHANNELS = 8;  // channels whose counts fit one 64-bit word, a byte each

constexpr int MAX_BYTE = 255;  // largest count that a byte holds

// Range of the values k, and where they are kept. The mask is there in every format.
enum class Format : uint8_t {
    Binary,  // 0..1: the mask alone
    Packed,  // 0..255 of at most PACKED_CHANNELS channels, in one word per pixel
    Counts,  // 0..255, a byte per channel
    Wide,    // any int32
};

inline Format format_of(int64_t min, int64_t max) {
    if (min < 0 || max > MAX_BYTE) return Format::Wide;
    return max > 1 ? Format::Counts : Format::Binary;
}

// A non-owning view of the spikes of one window. Channels are last and padded to whole words; the
// padding is silent. Pixel (step, y, x) of 70 channels takes two words:
//
//     word 0: bit c is set where k of channel c is not 0      word 1: channels 64..69, then zeros
//     |63 ............................................ 1 0|   |0 ................ 0|69 .. 65 64|
//
// There may be gaps between rows and between steps. No pixel lies there; the zeros of an image do.
struct Spikes {
    int steps = 0, height = 0, width = 0, channels = 0, words = 0;
    int rows = 0, pitch = 0;  // rows from step to step, pixels from row to row
    Format format = Format::Binary;
    uint64_t* mask = nullptr;    // [steps][rows][pitch][words]
    uint64_t* packed = nullptr;  // [steps][rows][pitch]: byte c is k of channel c, Format::Packed
    uint8_t* count = nullptr;    // [steps][rows][pitch][64 words], Format::Counts
    int32_t* wide = nullptr;     // [steps][rows][pitch][64 words], Format::Wide

    void close_gaps() {
        rows = height;
        pitch = width;
    }
    size_t word(int step, int y, int x) const {
        return ((size_t(step) * rows + y) * pitch + x) * words;
    }
    // Words up to the end of the last pixel, gaps included.
    size_t all_words() const { return steps ? word(steps - 1, height - 1, width) : 0; }
};

// Time-steps as bits of a word. Steps from 63 on share the last bit.
static inline uint64_t step_bit(int step) {
    return uint64_t(1) << (step < 63 ? step : 63);
}

constexpr int VIEWS = 4;  // see View

// Sums over the steps of one window, for counting and for the choice of a path. They are signed
// because the pixels of an image can be negative. A pair is two consecutive steps: 0 and 1, 2
// and 3.
struct Tally {
    const int32_t* columns = nullptr;  // whose pixels are counted one by one
    int n_columns = 0;
    int64_t* events = nullptr;             // [height][width], of these: number of k that are not 0
    int64_t* spikes = nullptr;             // [height][width], of these: sum of k
    int64_t* row_events = nullptr;         // [height]
    int64_t* row_spikes = nullptr;         // [height]
    int64_t* row_active[VIEWS] = {};       // [height], by view: entries of that view that are not 0
    int64_t* row_shared = nullptr;         // [height][pairs]: neurons that fire in both steps
    uint64_t* row_active_steps = nullptr;  // [height]: steps with a spike, as `step_bit`
    uint64_t* row_compact = nullptr;       // [height]: blocks of View::Compact with one, likewise
};

}  // namespace lmht
