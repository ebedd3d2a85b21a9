#include "activation.hpp"

namespace lmht {

void finish_row(const Kernels& kernels, const Tensor& tensor, const Activation& activation, int y) {
    for (const View view : {View::Blocks, View::Window})
        if (tensor.canonical(view) == view && tensor.reads[int(view)])
            activation.tally.row_active[int(view)][y] =
                kernels.sum_steps(activation.views[int(view) - 1], activation.view(view), y);
    kernels.tally(activation.view(View::Steps), activation.tally, y);
}

void finish_window_row(const Kernels& kernels, const Activation& activation, int y) {
    activation.tally.row_active[int(View::Window)][y] =
        kernels.tally(activation.view(View::Window), activation.tally, y);
}

}  // namespace lmht
