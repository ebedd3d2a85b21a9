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

// The sums of some rows of one synapse: [blocks][runs][positions of a run][64].
class TiledRows {
public:
    TiledRows(const SynapticLayer& layer, const ImageLayout& image, TileShape shape, RowRange rows)
        : image_(image), shape_(shape), rows_(rows), width_(layer.width) {}

    int pixels_of_tile() const;
    size_t block_pixels() const;
    size_t pixel(int block, int y) const;  // the first one of a row
    // Appends the tiles of all rows.
    void cut(int blocks, const uint8_t* image, int32_t* sums, std::vector<PixelTile>& tiles) const;

    // Pixels whose sums tiles may write behind the last one.
    static constexpr int SLACK = TILE_SIZE;

private:
    int positions(int rows) const { return (rows - 1) * image_.pitch() + width_; }

    const ImageLayout& image_;
    TileShape shape_;
    RowRange rows_;
    int width_;
};

}  // namespace lmht
