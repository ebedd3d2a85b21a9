// One axis of a convolution: which outputs each input reaches, and through which taps.
#pragma once
#include <optional>
#include <vector>

#include "kernels.hpp"

namespace lmht::netx {

struct AxisGeometry {
    int inputs, outputs, kernel, stride, padding, dilation;

    // Input x reaches output o through kernel index k where x + padding = o · stride + k ·
    // dilation.
    std::optional<int> output(int x, int k) const;
};

// Taps are the kernel indices in the order in which their weights are stored. It is chosen such
// that the outputs that one input reaches through consecutive taps are consecutive, too: then one
// addition of vectors serves the whole run. Two kernel indices serve one input where they differ by
// a multiple of the stride (for dilation 1), and the higher index reaches the lower output.
//
//   kernel 3, stride 1, padding 1          kernel 3, stride 2, padding 1
//   order {2, 1, 0}                        order {2, 0, 1}
//
//   input 2 reaches outputs  1  2  3       input 1 reaches outputs  0  1     input 2 reaches  1
//            through k       2  1  0                through k       2  0     through k        1
//            tap             0  1  2                tap             0  1     tap              2
//   one run {1, 3, 0}                      one run {0, 2, 0}                 one run {1, 1, 2}
struct Axis {
    std::vector<int> order;  // kernel index of each tap
    std::vector<Run> runs;   // by input, in the order of their taps
    std::vector<int> start;  // [inputs + 1]: the first run of each input

    explicit Axis(const AxisGeometry& geometry);

private:
    void add(int output, int tap);
};

}  // namespace lmht::netx
