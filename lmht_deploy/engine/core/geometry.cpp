#include "geometry.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace lmht {
namespace {

// Output size of a convolution along one axis.
int outputs(int size, int kernel, int stride, int padding, int dilation) {
    const int64_t span =
        int64_t(size) + 2 * int64_t(padding) - int64_t(dilation) * (kernel - 1) - 1;
    if (size < 1 || kernel < 1 || stride < 1 || padding < 0 || dilation < 1 || span < 0)
        throw std::invalid_argument("a kernel does not fit its input");
    return int(span / stride) + 1;
}

// How many outputs read each input along one axis.
std::vector<int64_t> taps(int size, int out, int kernel, int stride, int padding, int dilation) {
    std::vector<int64_t> found(size, 0);
    for (int i = 0; i < kernel; ++i)
        for (int o = 0; o < out; ++o) {
            const int64_t at = int64_t(o) * stride + int64_t(i) * dilation - padding;
            if (at >= 0 && at < size) ++found[at];
        }
    return found;
}

}  // namespace

Geometry::Geometry(Extent kernel_, Extent stride_, Extent padding_, Extent dilation_,
                   int height_in_, int width_in_)
    : kernel(kernel_),
      stride(stride_),
      padding(padding_),
      dilation(dilation_),
      height_in(height_in_),
      width_in(width_in_) {
    height_out = outputs(height_in, kernel.y, stride.y, padding.y, dilation.y);
    width_out = outputs(width_in, kernel.x, stride.x, padding.x, dilation.x);
    row_taps = taps(height_in, height_out, kernel.y, stride.y, padding.y, dilation.y);
    set_column_taps(taps(width_in, width_out, kernel.x, stride.x, padding.x, dilation.x));
    order_columns();
}

void Geometry::set_column_taps(const std::vector<int64_t>& taps) {
    column_taps = taps[width_in / 2];
    for (int column = 0; column < width_in; ++column)
        if (const int64_t more = taps[column] - column_taps)
            other_columns.push_back({column, more});
    mean_column_taps = double(std::accumulate(taps.begin(), taps.end(), int64_t(0))) / width_in;
}

void Geometry::order_columns() {
    std::vector<int64_t> used;  // columns counted from the left edge of the padding
    for (int x = 0; x < width_out; ++x)
        for (int kx = 0; kx < kernel.x; ++kx)
            used.push_back(int64_t(x) * stride.x + int64_t(kx) * dilation.x);
    const auto before = [d = dilation.x](int64_t a, int64_t b) {
        return a % d != b % d ? a % d < b % d : a < b;
    };
    std::sort(used.begin(), used.end(), before);
    used.erase(std::unique(used.begin(), used.end()), used.end());
    for (const int64_t column : used) {
        const int64_t at = column - padding.x;
        columns.push_back(at >= 0 && at < width_in ? int32_t(at) : -1);
    }
    const auto position = [&](int64_t column) {
        return std::lower_bound(used.begin(), used.end(), column, before) - used.begin();
    };
    for (int x = 0; x < width_out; ++x) first.push_back(int32_t(position(int64_t(x) * stride.x)));
}

}  // namespace lmht
