// Which input rows and columns a convolution reads for one output row.
#pragma once
#include <cstdint>
#include <vector>

namespace lmht {

struct Extent {  // vertical, horizontal
    int y = 1, x = 1;
};

// A synapse along one output row. Its input columns are ordered such that every output pixel covers
// `kernel.x` consecutive positions: by residue modulo the dilation, then from left to right.
// Columns in the padding are included (-1); columns that nothing reads are left out. Kernel 3,
// dilation 2, padding 1, 5 input columns:
//
//     position        0   1   2   3   4   5   6
//     input column   -1   1   3  -1   0   2   4
//     pixel 0         `-------'
//     pixel 1                         `-------'
//     pixel 2             `-------'
//
// So one list of active inputs in this order serves all pixels of the row.
struct Geometry {
    Extent kernel, stride, padding{0, 0}, dilation;
    int height_in = 1, width_in = 1, height_out = 1, width_out = 1;
    std::vector<int32_t> columns;  // input column at each position, -1 in the padding
    std::vector<int32_t> first;    // [width_out] first position of each output pixel
    // How many output rows read each input row.
    std::vector<int64_t> row_taps;
    // How many output columns read each input column: the same number, but for a few columns.
    int64_t column_taps = 0;
    struct OtherColumn {
        int column;
        int64_t more;  // than column_taps; less if negative
    };
    std::vector<OtherColumn> other_columns;
    double mean_column_taps = 0;

    Geometry(Extent kernel, Extent stride, Extent padding, Extent dilation, int height_in,
             int width_in);

    // Input row under row `ky` of the kernel at output row `y`; may lie in the padding.
    int input_row(int y, int ky) const { return y * stride.y + ky * dilation.y - padding.y; }

    // Calls visit(row) for every input row under output row y.
    template <class Visit>
    void for_rows_under(int y, Visit visit) const {
        for (int ky = 0; ky < kernel.y; ++ky)
            if (const int row = input_row(y, ky); row >= 0 && row < height_in) visit(row);
    }

private:
    void set_column_taps(const std::vector<int64_t>& taps);
    void order_columns();
};

}  // namespace lmht
