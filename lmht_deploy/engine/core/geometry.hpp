// Where a convolution reads: which input rows and columns meet an output row.
#pragma once
#include <cstdint>
#include <vector>

namespace lmht {

struct Extent {  // vertical, horizontal
    int y = 1, x = 1;
};

// A synapse seen along one output row. Its input columns are lined up such that every output pixel
// covers `kernel.x` consecutive ones: sorted by residue modulo the dilation, columns in the padding
// included (-1), columns that nothing reads left out. So a list of active inputs in this order
// serves all pixels of the row.
struct Geometry {
    Extent kernel, stride, padding{0, 0}, dilation;
    int height_in = 1, width_in = 1, height_out = 1, width_out = 1;
    std::vector<int32_t> columns;  // input column at each position, -1 in the padding
    std::vector<int32_t> first;    // [width_out] first position of each output pixel
    std::vector<int64_t> row_taps,
        column_taps;  // output rows (columns) that read each input row (column)
    double mean_column_taps = 0;

    Geometry(Extent kernel, Extent stride, Extent padding, Extent dilation, int height_in,
             int width_in);

    // Input row under row `ky` of the kernel at output row `y`; may lie in the padding.
    int input_row(int y, int ky) const { return y * stride.y + ky * dilation.y - padding.y; }
};

}  // namespace lmht
