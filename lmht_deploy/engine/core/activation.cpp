#include "activation.hpp"

#include <bit>

namespace lmht {
namespace {

// Steps with a spike under output row y, as `step_bit`.
uint64_t active_steps(const Geometry& geometry, const Source& source, int y) {
    const uint64_t* const rows =
        source.view == View::Compact ? source.tally.row_compact : source.tally.row_active_steps;
    uint64_t active = 0;
    geometry.for_rows_under(y, [&](int row) { active |= rows[row]; });
    return active;
}

}  // namespace

bool is_silent(const Geometry& geometry, const Source& source, int y, int block) {
    const int first = block * source.steps_per_block;
    uint64_t steps = 0;
    for (int step = first; step < first + source.steps_per_block; ++step) steps |= step_bit(step);
    return !(active_steps(geometry, source, y) & steps);
}

int silent_blocks(const Geometry& geometry, const Source& source, int y) {
    const uint64_t active = active_steps(geometry, source, y);
    return active ? std::countr_zero(active) / source.steps_per_block : source.spikes.steps;
}

void finish_row(const Kernels& kernels, const Tensor& tensor, const Activation& activation, int y) {
    for (const View view : {View::Blocks, View::Window})
        if (tensor.canonical(view) == view && tensor.reads[int(view)] && !tensor.writes_window)
            activation.tally.row_active[int(view)][y] =
                kernels.sum_steps(activation.views[int(view) - 1], activation.view(view), y);
    if (tensor.canonical(View::Compact) == View::Compact && tensor.reads[int(View::Compact)])
        activation.tally.row_active[int(View::Compact)][y] =
            kernels.compact(activation.view(View::Blocks), activation.view(View::Compact), y,
                            activation.tally.row_compact[y]);
    // The sums of the window are fewer, and those of binary spikes are the numbers of spikes.
    const bool summed =
        tensor.reads[int(View::Window)] && tensor.format(View::Steps) != Format::Binary;
    kernels.tally(activation.view(View::Steps),
                  activation.view(summed ? View::Window : View::Steps), activation.tally, y);
}

void finish_window_row(const Kernels& kernels, const Activation& activation, int y) {
    activation.tally.row_active[int(View::Window)][y] = kernels.tally(
        activation.view(View::Window), activation.view(View::Window), activation.tally, y);
}

}  // namespace lmht
