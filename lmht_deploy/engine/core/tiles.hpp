// How the output rows of a layer are cut into tiles of 16 pixels.
#pragma once
#include <vector>

#include "model.hpp"
#include "path_choice.hpp"

namespace lmht {

// The rows that are multiplied together are cut into runs, and runs into tiles. The rows of a run
// follow each other in an image; the positions between them are multiplied, too, and never read:
//
//     run of two rows of 6 pixels     0 1 2 3 4 5 . 0 1 2 3 4 5
//     tiles                           `------------------------'
struct TileShape {
    int run_rows = 1, rows = 1;  // of a run; that are multiplied together

    TileShape() = default;
    // With as few tiles as possible, for threads that share the rows of `layer`.
    TileShape(const SynapticLayer& layer, int threads);
};

// The sums of the rows of one synapse that are multiplied together, at most `shape.rows`:
// [blocks][runs][positions of a run][64].
class Tiling {
public:
    Tiling(const SynapticLayer& layer, const ImageLayout& image, TileShape shape);

    int pixels_of_tile(RowRange rows) const;
    // Of row i of those that are multiplied together, in the first block.
    size_t first_pixel(int i) const { return first_pixels_[i]; }
    size_t block_pixels() const { return block_pixels_; }
    // Of all blocks, with those whose sums tiles may write behind the last one.
    size_t pixels(int blocks) const { return blocks * block_pixels_ + TILE_SIZE; }
    // Appends the tiles of all blocks of some rows.
    void cut(RowRange rows, int blocks, const uint8_t* image, int32_t* sums,
             std::vector<PixelTile>& tiles) const;

private:
    int positions(int rows) const { return (rows - 1) * image_->pitch() + width_; }

    const ImageLayout* image_;
    int run_rows_, width_;
    std::vector<size_t> first_pixels_;  // by row
    size_t block_pixels_;
};

}  // namespace lmht
