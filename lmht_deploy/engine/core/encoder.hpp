// Between windows of integers, channels first, and spikes, channels last.
#pragma once
#include "spikes.hpp"

namespace lmht {

// Whether all values lie within a range. One loop without a branch, which compilers vectorize.
bool lie_within(const int32_t* values, size_t n, int64_t min, int64_t max);

// Value k of one channel: bit `bit` of word `word`.
int32_t value_at(const Spikes& spikes, size_t word, int bit);
// Sets a channel that is silent. `value` is not 0.
void put_value(const Spikes& spikes, size_t word, int bit, int32_t value);
// Silences all spikes; touches only words that are not silent.
void clear(const Spikes& spikes);
// One step of `spikes`, as spikes of one step.
Spikes one_step(Spikes spikes, int step);

// Writes a window [steps][C][H][W] to `spikes` of any format.
void encode(const int32_t* window, const Spikes& spikes);
// Writes row y of the window to `spikes` of Format::Packed. Without a branch per value, because
// events come too irregularly to be predicted.
void encode_packed_row(const int32_t* window, const Spikes& spikes, int y);
// Writes `spikes` to a window [steps][C][H][W].
void decode(const Spikes& spikes, int32_t* window);
// Writes (C, H, W) to C * H * W channels of one pixel, in that order.
void flatten(const Spikes& in, const Spikes& out);

}  // namespace lmht
