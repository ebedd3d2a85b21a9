#include "activation.hpp"

namespace lmht {

void finish_row(const Kernels& kernels, const Tensor& tensor, const Activation& activation, int y) {
    for (const View view : {View::Blocks, View::Window})
        if (tensor.canonical(view) == view && tensor.reads[int(view)] && !tensor.summed)
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

void finish_flat_window(const Tensor& source, const Tally& from, const Tally& into) {
    const int window = int(View::Window);
    int64_t events = 0, spikes = 0, active = 0;
    uint64_t steps = 0;
    for (int y = 0; y < source.height; ++y) {
        events += from.row_events[y];
        spikes += from.row_spikes[y];
        active += from.row_active[window][y];
        steps |= from.row_active_steps[y];
    }
    into.events[0] = into.row_events[0] = events;
    into.spikes[0] = into.row_spikes[0] = spikes;
    into.row_active[window][0] = active;
    into.row_active_steps[0] = steps;
}

}  // namespace lmht
