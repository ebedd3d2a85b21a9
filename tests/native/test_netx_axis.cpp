// Geometry of convolutions against loops over all outputs and taps.
#include <algorithm>

#include "check.hpp"
#include "netx/core/axis.hpp"

using namespace lmht::netx;

namespace {

int outputs_of(int inputs, int kernel, int stride, int padding, int dilation) {
    return (inputs + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

// Calls f(geometry) for many small geometries that have at least one output.
template <class Function>
void for_each_geometry(Function f) {
    for (int inputs = 1; inputs <= 7; ++inputs)
        for (int kernel = 1; kernel <= 4; ++kernel)
            for (int stride = 1; stride <= 4; ++stride)
                for (int padding = 0; padding <= 3; ++padding)
                    for (int dilation = 1; dilation <= 3; ++dilation) {
                        if (inputs + 2 * padding < dilation * (kernel - 1) + 1) continue;
                        f(AxisGeometry{inputs,
                                       outputs_of(inputs, kernel, stride, padding, dilation),
                                       kernel, stride, padding, dilation});
                    }
}

// How often input x reaches output o through kernel index k, [inputs][outputs][kernel].
std::vector<int> by_runs(const AxisGeometry& g) {
    const Axis axis(g);
    std::vector<int> found(g.inputs * g.outputs * g.kernel);
    for (int x = 0; x < g.inputs; ++x)
        for (int r = axis.start[x]; r < axis.start[x + 1]; ++r)
            for (int i = 0; i < axis.runs[r].length; ++i) {
                const int output = axis.runs[r].output + i, k = axis.order[axis.runs[r].tap + i];
                ++found.at((x * g.outputs + output) * g.kernel + k);
            }
    return found;
}

std::vector<int> by_definition(const AxisGeometry& g) {
    std::vector<int> found(g.inputs * g.outputs * g.kernel);
    for (int o = 0; o < g.outputs; ++o)
        for (int k = 0; k < g.kernel; ++k) {
            const int x = o * g.stride + k * g.dilation - g.padding;
            if (x >= 0 && x < g.inputs) ++found[(x * g.outputs + o) * g.kernel + k];
        }
    return found;
}

}  // namespace

TEST(runs_are_the_definition) {
    int geometries = 0;
    for_each_geometry([&](const AxisGeometry& g) {
        ++geometries;
        CHECK(by_runs(g) == by_definition(g));
    });
    CHECK(geometries > 500);
}

TEST(the_order_has_each_kernel_index_once) {
    for_each_geometry([](const AxisGeometry& g) {
        std::vector<int> order = Axis(g).order;
        std::sort(order.begin(), order.end());
        CHECK_EQUAL(int(order.size()), g.kernel);
        for (int k = 0; k < int(order.size()); ++k) CHECK_EQUAL(order[k], k);
    });
}

TEST(an_input_in_the_middle_has_one_run) {
    const Axis plain({9, 9, 3, 1, 1, 1}), strided({9, 5, 3, 2, 1, 1});
    CHECK_EQUAL(plain.order, (std::vector{2, 1, 0}));
    CHECK_EQUAL(strided.order, (std::vector{2, 0, 1}));
    for (int x = 1; x < 8; ++x) {
        CHECK_EQUAL(plain.start[x + 1] - plain.start[x], 1);
        CHECK_EQUAL(plain.runs[plain.start[x]].length, 3);
        CHECK_EQUAL(strided.start[x + 1] - strided.start[x], 1);
    }
}

TEST(no_run_where_the_stride_skips_an_input) {
    const Axis axis({5, 2, 1, 3, 0, 1});  // inputs 0 and 3 are read
    for (int x = 0; x < 5; ++x) CHECK_EQUAL(axis.start[x + 1] - axis.start[x], x % 3 == 0 ? 1 : 0);
}
