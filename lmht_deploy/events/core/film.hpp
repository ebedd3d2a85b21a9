// The moving image.
#pragma once
#include <cstddef>
#include <vector>

namespace lmht::events {

// `film` [steps, height, width]: `scene` [any, scene_width] at the places (rows[step, y],
// columns[step, x]), linear between its pixels. Every place must have a pixel of the scene behind
// it.
inline void move(const float* scene, size_t scene_width, const float* rows, const float* columns,
                 size_t steps, size_t height, size_t width, float* film) {
    std::vector<size_t> left(width);
    std::vector<float> share(width);
    for (size_t step = 0; step < steps; ++step, rows += height, columns += width) {
        for (size_t x = 0; x < width; ++x) {
            left[x] = size_t(columns[x]);
            share[x] = columns[x] - float(left[x]);
        }
        for (size_t y = 0; y < height; ++y, film += width) {
            const float* upper = scene + size_t(rows[y]) * scene_width;
            const float* lower = upper + scene_width;
            const float down = rows[y] - float(size_t(rows[y]));
            for (size_t x = 0; x < width; ++x) {
                const size_t at = left[x];
                const float above = upper[at] + share[x] * (upper[at + 1] - upper[at]),
                            below = lower[at] + share[x] * (lower[at + 1] - lower[at]);
                film[x] = above + down * (below - above);
            }
        }
    }
}

}  // namespace lmht::events
