#include "tiles.hpp"

#include <algorithm>

namespace lmht {
namespace {

// Positions whose sums are kept at once, for two blocks or fewer and for each further one. With
// fewer, tiles would be configured more often and products wait for the sums of others; with more,
// the sums would not stay in the second-level cache.
constexpr int POSITIONS_AT_ONCE = 400;

int tiles_of(int positions) {
    return (positions + TILE_SIZE - 1) / TILE_SIZE;
}

// Tiles of `height` rows in runs of `run_rows`.
int tiles_of_rows(int height, int run_rows, int width, int pitch) {
    const auto tiles = [&](int rows) { return rows ? tiles_of((rows - 1) * pitch + width) : 0; };
    return height / run_rows * tiles(run_rows) + tiles(height % run_rows);
}

}  // namespace

TileShape::TileShape(const SynapticLayer& layer, int threads) {
    int pitch = 0;
    for (const Synapse& synapse : layer.synapses)
        if (synapse.image) pitch = std::max(pitch, synapse.image->pitch());
    if (pitch == 0) return;
    const int share = (layer.height + threads - 1) / threads;
    const int positions = POSITIONS_AT_ONCE * std::max(2, layer.blocks) / layer.blocks;
    const auto fewest = [&](int a, int b) {
        return tiles_of_rows(share, a, layer.width, pitch) <
               tiles_of_rows(share, b, layer.width, pitch);
    };
    for (int n = 2; n <= share && (n - 1) * pitch + layer.width <= positions; ++n)
        if (fewest(n, run_rows)) run_rows = n;
    const int run = (run_rows - 1) * pitch + layer.width;
    const int runs = std::clamp(positions / run, 1, (share + run_rows - 1) / run_rows);
    rows = std::min(runs * run_rows, share);
}

Tiling::Tiling(const SynapticLayer& layer, const ImageLayout& image, TileShape shape)
    : image_(&image), run_rows_(shape.run_rows), width_(layer.width) {
    const size_t run = positions(run_rows_);
    for (int row = 0; row < shape.rows; ++row)
        first_pixels_.push_back(row / run_rows_ * run + row % run_rows_ * image.pitch());
    block_pixels_ = (shape.rows + run_rows_ - 1) / run_rows_ * run;
}

int Tiling::pixels_of_tile(RowRange rows) const {
    return std::min(positions(std::min(run_rows_, rows.last - rows.first)), TILE_SIZE);
}

// The last tile of a run begins early enough to end with it, if it can: some positions are
// multiplied twice. What a tile writes behind its run is overwritten by the next one.
void Tiling::cut(RowRange rows, int blocks, const uint8_t* image, int32_t* sums,
                 std::vector<PixelTile>& tiles) const {
    for (int block = 0; block < blocks; ++block)
        for (int y = rows.first; y < rows.last; y += run_rows_) {
            const int n = positions(std::min(run_rows_, rows.last - y));
            const uint8_t* const values = image + image_->at(block, y);
            int32_t* const to =
                sums + (block * block_pixels_ + first_pixels_[y - rows.first]) * LANES;
            for (int at = 0; at < n; at += TILE_SIZE) {
                const int first = std::max(std::min(at, n - TILE_SIZE), 0);
                tiles.push_back({values + first * image_->pixel_bytes(), to + first * LANES});
            }
        }
}

}  // namespace lmht
