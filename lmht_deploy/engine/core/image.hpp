// The inputs of a synapse as an image of bytes, which tiles read without a copy of what neighboring
// pixels share.
#pragma once
#include <vector>

#include "geometry.hpp"
#include "kernels.hpp"
#include "weights.hpp"

namespace lmht {

// Channels are innermost and have no gaps; the padding is stored as zeros. With a stride, the rows
// and columns that a place of the kernel reads lie side by side in an image of their own, a phase.
// Stride 1, padding 1, 3 input columns (z: zeros, which end one row and begin the next one):
//
//     z z z z         above the first row
//     z 0 1 2         row 0 of block 0
//     z 3 4 5         row 1
//     z z z z         below the last row, and above the next block
//     z 0 1 2         row 0 of block 1
//
// So the output pixels of a block are at equal distances along a row, and those of the next row
// follow; between two rows lie positions that are not read. From a position, every place of the
// kernel is at the same offset.
class ImageLayout {
public:
    ImageLayout(const Geometry& geometry, int channels, int blocks);

    int pitch() const { return pitch_; }  // positions from row to row
    size_t pixel_bytes() const { return channels_; }
    size_t bytes() const { return phases() * phase_bytes_ + SLACK * (channels_ + DEPTH); }

    // Bytes from the beginning to the first place of the kernel at an output pixel.
    size_t at(int block, int y) const;
    // Bytes from there to what each group of DEPTH slots of the weights reads.
    std::vector<size_t> offsets(const Geometry& geometry, const Slice& slice) const;

    // With stride 1 there is one phase, which holds all inputs in their order: a layer can write
    // its counts there.
    bool holds_all_inputs() const { return stride_.y == 1 && stride_.x == 1; }
    bool has_same_places(const ImageLayout& other) const {
        return rows_ == other.rows_ && pitch_ == other.pitch_ &&
               first_pixel() == other.first_pixel();
    }
    int rows() const { return rows_; }  // from block to block
    size_t first_pixel() const { return (size_t(padding_.y) * pitch_ + padding_.x) * channels_; }

    // The image is filled in this number of parts. `in_place`: the counts are there already, and
    // only the zeros around them are written.
    int parts(int blocks) const { return blocks * rows_ * int(phases_y_.size()) + 1; }
    void fill(const Kernels& kernels, const Spikes& source, bool in_place, int part,
              uint8_t* image) const;

private:
    static constexpr int SLACK = TILE_SIZE;  // pixels that tiles read beyond the last

    size_t phases() const { return phases_y_.size() * phases_x_.size(); }
    size_t offset(const Geometry& geometry, int ky, int kx) const;
    void fill_row(const Kernels& kernels, const Spikes& source, bool in_place, int block, int y,
                  int phase_x, uint8_t* to) const;

    Extent stride_, padding_;
    std::vector<int> phases_y_, phases_x_;  // first row (column) of each phase
    int channels_;
    int rows_, pitch_;                 // of a phase and a block
    int shared_rows_, shared_pixels_;  // zeros that end a block and a row, and begin the next one
    size_t phase_bytes_;
};

}  // namespace lmht
