// Lists of the active inputs under one output row. `RowInputs` in kernels.hpp draws the order of
// the slots. A word of a mask becomes one entry per bit, the byte offset of a row of 64 weights:
//
//     bit       7 6 5 4 3 2 1 0
//     mask      0 1 0 0 1 0 1 0
//     entries   64 * (slot + 1), 64 * (slot + 3), 64 * (slot + 6)      slot: of bit 0
#pragma once
#include "values.hpp"

namespace lmht {
namespace {

// The entries of a list: byte offsets of weight rows.
LMHT_INLINE uint32_t* rows_of(const RowInputs& inputs, int list) {
    return inputs.rows + list * inputs.row_pitch;
}
// For each position, where its entries begin in the list, and the end of the list.
LMHT_INLINE uint32_t* starts_of(const RowInputs& inputs, int list) {
    return inputs.starts + size_t(list) * (inputs.positions + 1);
}

// The rows ky0 <= ky < ky1 of the kernel that lie inside the input, and the first word of the block
// under row ky0.
struct Inside {
    int ky0, ky1;
    size_t origin;
};

LMHT_INLINE Inside rows_inside(const GatherRow& g) {
    int ky0 = 0, ky1 = g.kernel_height;
    while (ky0 < ky1 && g.first_row + ky0 * g.row_step < 0) ++ky0;
    while (ky0 < ky1 && g.first_row + (ky1 - 1) * g.row_step >= g.source->height) --ky1;
    const int row = g.first_row + ky0 * g.row_step;
    return {ky0, ky1, ky0 < ky1 ? g.source->word(g.block, row, 0) : 0};
}

// Distance from a word of the block to the same word of the partner.
LMHT_INLINE ptrdiff_t words_to_partner(const GatherRow& g) {
    return ptrdiff_t(g.partner - g.block) * ptrdiff_t(g.source->word(1, 0, 0));
}

// The words of a range of channels, and which bits of the first and of the last word belong to it:
//
//     channels 70..199:    word 1             word 2              word 3
//                        |127 ..... 70|..|  |191 ...... 128|    |..|199 .. 192|
//                          first_bits            all               last_bits
struct WordRange {
    int first, n;
    uint64_t first_bits, last_bits;
};

LMHT_INLINE WordRange words_of_channels(const GatherRow& g) {
    const int last_channel = g.channel0 + g.channels - 1;
    return {g.channel0 / LANES, last_channel / LANES - g.channel0 / LANES + 1,
            ~uint64_t(0) << (g.channel0 % LANES),
            ~uint64_t(0) >> (LANES - 1 - last_channel % LANES)};
}

// Reads the active inputs that a list holds: those of the block, and with a partner only what both
// have or only what the partner has not.
class ActiveInputs {
public:
    explicit LMHT_INLINE ActiveInputs(const GatherRow& g)
        : mask_(g.source->mask),
          partner_(mask_ + words_to_partner(g)),
          all_(g.select == Select::All),
          flip_(g.select == Select::Shared ? 0 : ~uint64_t(0)) {}

    LMHT_INLINE uint64_t operator()(size_t word) const {
        return all_ ? mask_[word] : mask_[word] & (partner_[word] ^ flip_);
    }

private:
    const uint64_t *mask_, *partner_;
    bool all_;
    uint64_t flip_;
};

// Calls visit(active, word, slot) for every word of the channel range at every place under the row,
// with the slot of the word's first channel (modulo 2^32: it can lie before the range), and
// done(position) after each position. `PART`: the range is not all channels.
template <bool PART, class Visit, class Done>
LMHT_INLINE void for_each_word_of(const GatherRow& g, Visit visit, Done done) {
    const Spikes& in = *g.source;
    const auto [word0, words, first_bits, last_bits] = words_of_channels(g);
    const auto [ky0, ky1, origin] = rows_inside(g);
    const size_t row_pitch = size_t(g.row_step) * in.pitch * in.words;
    const uint32_t pitch = uint32_t(g.pitch), position_slots = uint32_t(g.kernel_height) * pitch;
    const ActiveInputs active_inputs(g);
    const int positions = g.into->positions;
    uint32_t first_slot = uint32_t(ky0) * pitch - uint32_t(g.channel0 % LANES);
    for (int position = 0; position < positions; ++position, first_slot += position_slots) {
        if (const int x = g.columns[position]; x >= 0) {
            size_t at = origin + size_t(x) * in.words + word0;
            uint32_t slot = first_slot;
            for (int ky = ky0; ky < ky1; ++ky, at += row_pitch, slot += pitch)
                for (int w = 0; w < words; ++w) {
                    uint64_t active = active_inputs(at + w);
                    if (PART && w == 0) active &= first_bits;
                    if (PART && w == words - 1) active &= last_bits;
                    visit(active, at + w, slot + uint32_t(w) * LANES);
                }
        }
        done(position);
    }
}

template <class Visit, class Done>
LMHT_INLINE void for_each_word(const GatherRow& g, Visit visit, Done done) {
    if (g.channels == g.source->channels)  // what is beyond the last channel is silent
        for_each_word_of<false>(g, visit, done);
    else
        for_each_word_of<true>(g, visit, done);
}

// ----------------------------------------------------------------------------------------------
// binary spikes

// Any range of channels.
template <class Tier>
LMHT_NOINLINE void list_spikes(const GatherRow& g) {
    uint32_t* const rows = rows_of(*g.into, g.list);
    uint32_t* const starts = starts_of(*g.into, g.list);
    uint32_t n = 0;
    starts[0] = 0;
    for_each_word(
        g, [&](uint64_t mask, size_t, uint32_t slot) { n += Tier::list(mask, slot, rows + n); },
        [&](int position) { starts[position + 1] = n; });
}

// The usual case: whole words, every channel, position by position. `KERNEL_ROWS` and `WORDS` are
// their numbers where they are known at compile time, else 0. Not inlined: the loop needs all
// registers.
template <class Tier, int KERNEL_ROWS, int WORDS, class Active>
LMHT_NOINLINE void list_positions(const GatherRow& g, Inside inside, Active active) {
    const RowInputs& into = *g.into;
    const Spikes& in = *g.source;
    const int kernel_rows = KERNEL_ROWS ? KERNEL_ROWS : inside.ky1 - inside.ky0,
              words = WORDS ? WORDS : in.words, positions = into.positions;
    uint32_t* const rows = rows_of(into, g.list);
    uint32_t* const starts = starts_of(into, g.list);
    const uint64_t* const mask = in.mask + inside.origin;
    const int32_t* const columns = g.columns;
    const size_t pitch = size_t(g.row_step) * in.pitch * words;
    const uint32_t slots = uint32_t(g.pitch), position_slots = uint32_t(g.kernel_height) * slots;
    uint32_t slot = uint32_t(inside.ky0) * slots, n = 0;
    starts[0] = 0;
    for (int position = 0; position < positions; ++position, slot += position_slots) {
        const int x = columns[position];
        if (x >= 0)
            n += Tier::list_position(mask + size_t(x) * words, pitch, kernel_rows, words, slots,
                                     slot, rows + n, active);
        starts[position + 1] = n;
    }
}

template <class Tier, class Active>
LMHT_INLINE void list_whole_words(const GatherRow& g, Active active) {
    const Inside inside = rows_inside(g);
    // 64 channels under a kernel of 3 rows: the layers with most pixels.
    if (g.source->words == 1 && inside.ky1 - inside.ky0 == 3)
        list_positions<Tier, 3, 1>(g, inside, active);
    else
        list_positions<Tier, 0, 0>(g, inside, active);
}

template <class Tier>
void list_whole_words(const GatherRow& g) {
    const ptrdiff_t apart = words_to_partner(g);
    switch (g.select) {
        case Select::All:
            return list_whole_words<Tier>(g, [](const uint64_t* mask) { return *mask; });
        case Select::Shared:
            return list_whole_words<Tier>(
                g, [apart](const uint64_t* mask) { return mask[0] & mask[apart]; });
        case Select::Unshared:
            return list_whole_words<Tier>(
                g, [apart](const uint64_t* mask) { return mask[0] & ~mask[apart]; });
    }
}

// ----------------------------------------------------------------------------------------------
// counts: Path::Graded

// Both lists of a block: list_word(at, mask, slot, once, n, twice, m) adds the entries of a word to
// the n of the list `once` and to the m of the list `twice`.
template <class ListWord>
LMHT_INLINE void list_both(const GatherRow& g, ListWord list_word) {
    const RowInputs& into = *g.into;
    const int lists[2] = {g.list, g.source->steps + g.list};
    uint32_t* const once = rows_of(into, lists[0]);
    uint32_t* const twice = rows_of(into, lists[1]);
    uint32_t* const once_starts = starts_of(into, lists[0]);
    uint32_t* const twice_starts = starts_of(into, lists[1]);
    uint32_t n = 0, m = 0;
    once_starts[0] = twice_starts[0] = 0;
    for_each_word(
        g,
        [&](uint64_t mask, size_t at, uint32_t slot) {
            list_word(at, mask, slot, once, n, twice, m);
        },
        [&](int position) {
            once_starts[position + 1] = n;
            twice_starts[position + 1] = m;
        });
}

template <class Tier>
LMHT_NOINLINE void list_counts(const GatherRow& g) {
    const uint8_t* const count = g.source->count;
    list_both(g, [count](size_t at, uint64_t mask, uint32_t slot, uint32_t* once, uint32_t& n,
                         uint32_t* twice, uint32_t& m) {
        n += Tier::list(Tier::odd(count + at * LANES, mask), slot, once + n);
        for (int level = 2; level < 256 && (mask = Tier::at_least(count + at * LANES, level, mask));
             level += 2)
            m += Tier::list(mask, slot, twice + m);
    });
}

void list_packed(const GatherRow& g) {
    const Spikes& in = *g.source;
    list_both(g, [&in](size_t at, uint64_t mask, uint32_t slot, uint32_t* once, uint32_t& n,
                       uint32_t* twice, uint32_t& m) {
        for_each_bit(mask, [&](int c) {
            const uint32_t row = (slot + uint32_t(c)) * LANES;
            const int32_t k = value_of(in, at, c);
            if (k & 1) once[n++] = row;
            for (int i = 0; i < k / 2; ++i) twice[m++] = row;
        });
    });
}

// ----------------------------------------------------------------------------------------------
// any values: Path::Weighted

void list_values(const GatherRow& g) {
    const RowInputs& into = *g.into;
    const Spikes& in = *g.source;
    uint32_t* const rows = rows_of(into, g.list);
    int32_t* const values = into.values + g.list * into.row_pitch;
    uint32_t* const starts = starts_of(into, g.list);
    uint32_t n = 0;
    starts[0] = 0;
    for_each_word(
        g,
        [&](uint64_t mask, size_t at, uint32_t slot) {
            for_each_bit(mask, [&](int c) {
                values[n] = value_of(in, at, c);
                rows[n++] = (slot + uint32_t(c)) * LANES;
            });
        },
        [&](int position) { starts[position + 1] = n; });
}

template <class Tier>
void list(const GatherRow& g) {
    if (g.into->path == Path::Weighted)
        list_values(g);
    else if (g.into->path == Path::Graded)
        g.source->format == Format::Packed ? list_packed(g) : list_counts<Tier>(g);
    else if (g.channels == g.source->channels && g.channels % LANES == 0)
        list_whole_words<Tier>(g);
    else
        list_spikes<Tier>(g);
}

}  // namespace
}  // namespace lmht
