// Frame sequences: what a moving camera sees of an image.
#pragma once
#include <cstddef>
#include <vector>

namespace lmht::events {

// An image [any, width].
struct Scene {
    const float* pixels;
    size_t width;
};

// Where the pixels of each frame lie in the scene: rows [steps, height], columns [steps, width].
struct Positions {
    const float *rows, *columns;
};

// Writes frames [steps, height, width]: the scene at each frame's positions, interpolated linearly
// between its pixels (bilinear). Each position must be less than the last index of its axis.
inline void move(const Scene& scene, Positions at, size_t steps, size_t height, size_t width,
                 float* frames) {
    std::vector<size_t> left(width);
    std::vector<float> share(width);
    for (size_t step = 0; step < steps; ++step, at.rows += height, at.columns += width) {
        for (size_t x = 0; x < width; ++x) {
            left[x] = size_t(at.columns[x]);
            share[x] = at.columns[x] - float(left[x]);
        }
        for (size_t y = 0; y < height; ++y, frames += width) {
            const float* upper = scene.pixels + size_t(at.rows[y]) * scene.width;
            const float* lower = upper + scene.width;
            const float down = at.rows[y] - float(size_t(at.rows[y]));
            for (size_t x = 0; x < width; ++x) {
                const size_t i = left[x];
                const float above = upper[i] + share[x] * (upper[i + 1] - upper[i]),
                            below = lower[i] + share[x] * (lower[i + 1] - lower[i]);
                frames[x] = above + down * (below - above);
            }
        }
    }
}

}  // namespace lmht::events
