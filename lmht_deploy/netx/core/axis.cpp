#include "axis.hpp"

namespace lmht::netx {
namespace {

std::vector<int> tap_order(const AxisGeometry& geometry) {
    std::vector<int> order;
    for (int phase = 0; phase < geometry.stride; ++phase)
        for (int k = geometry.kernel - 1; k >= 0; --k)
            if (k * geometry.dilation % geometry.stride == phase) order.push_back(k);
    return order;
}

}  // namespace

std::optional<int> AxisGeometry::output(int x, int k) const {
    const int from = x + padding - k * dilation;
    if (from < 0 || from % stride != 0 || from / stride >= outputs) return std::nullopt;
    return from / stride;
}

Axis::Axis(const AxisGeometry& geometry) : order(tap_order(geometry)) {
    for (int x = 0; x < geometry.inputs; ++x) {
        start.push_back(int(runs.size()));
        for (int tap = 0; tap < geometry.kernel; ++tap)
            if (const auto output = geometry.output(x, order[tap])) add(*output, tap);
    }
    start.push_back(int(runs.size()));
}

// Extends the last run of the current input, or begins a new one.
void Axis::add(int output, int tap) {
    if (int(runs.size()) > start.back()) {
        Run& last = runs.back();
        if (last.output + last.length == output && last.tap + last.length == tap) {
            ++last.length;
            return;
        }
    }
    runs.push_back({output, 1, tap});
}

}  // namespace lmht::netx
