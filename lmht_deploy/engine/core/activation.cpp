#include "activation.hpp"

namespace lmht {

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
