#include "image.hpp"

#include <algorithm>
#include <cstring>

namespace lmht {
namespace {

// Rows (or columns) of a phase that the outputs of a block read.
int rows_read(int outputs, int kernel, int stride, int dilation) {
    return outputs + (kernel - 1) * dilation / stride;
}

// The rows (or columns) modulo the stride that some place of the kernel reads.
std::vector<int> phases_of(int kernel, int stride, int dilation) {
    std::vector<int> found;
    for (int k = 0; k < kernel; ++k) found.push_back(int(int64_t(k) * dilation % stride));
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

size_t index_of(const std::vector<int>& phases, int phase) {
    return std::lower_bound(phases.begin(), phases.end(), phase) - phases.begin();
}

}  // namespace

ImageLayout::ImageLayout(const Geometry& geometry, int channels, int blocks)
    : stride_(geometry.stride),
      padding_(geometry.padding),
      phases_y_(phases_of(geometry.kernel.y, stride_.y, geometry.dilation.y)),
      phases_x_(phases_of(geometry.kernel.x, stride_.x, geometry.dilation.x)),
      channels_(channels),
      shared_rows_(stride_.y == 1 ? padding_.y : 0),
      shared_pixels_(stride_.x == 1 ? padding_.x : 0) {
    const Extent kernel = geometry.kernel, dilation = geometry.dilation;
    rows_ = rows_read(geometry.height_out, kernel.y, stride_.y, dilation.y) - shared_rows_;
    pitch_ = rows_read(geometry.width_out, kernel.x, stride_.x, dilation.x) - shared_pixels_;
    const size_t rows = size_t(blocks) * rows_ + shared_rows_;
    phase_bytes_ = (rows * pitch_ + shared_pixels_) * channels_;
}

size_t ImageLayout::at(int block, int y) const {
    return (size_t(block) * rows_ + y) * pitch_ * channels_;
}

size_t ImageLayout::offset(const Geometry& geometry, int ky, int kx) const {
    const int y = ky * geometry.dilation.y, x = kx * geometry.dilation.x;
    const size_t phase =
        index_of(phases_y_, y % stride_.y) * phases_x_.size() + index_of(phases_x_, x % stride_.x);
    return phase * phase_bytes_ + (size_t(y / stride_.y) * pitch_ + x / stride_.x) * channels_;
}

std::vector<size_t> ImageLayout::offsets(const Geometry& geometry, const Slice& slice) const {
    std::vector<size_t> found;
    const int width = slice.run_slots == slice.channels ? geometry.kernel.x : 1;
    for (int ky = 0; ky < geometry.kernel.y; ++ky)
        for (int kx = 0; kx < width; ++kx)
            for (int slot = 0; slot < slice.run_slots; slot += DEPTH)
                found.push_back(offset(geometry, ky, kx) + slice.channel0 + slot);
    return found;
}

// A part is a row of one block and the phases side by side; the last one is what follows the last
// block.
void ImageLayout::fill(const Kernels& kernels, const Spikes& source, bool in_place, int part,
                       uint8_t* image) const {
    const int phases_y = int(phases_y_.size()), block = part / (rows_ * phases_y);
    const int row = part / phases_y % rows_, phase_y = part % phases_y;
    if (block == source.steps) {
        const size_t bytes = (size_t(shared_rows_) * pitch_ + shared_pixels_) * channels_;
        for (size_t phase = 0; phase < phases(); ++phase)
            std::memset(image + phase * phase_bytes_ + at(block, 0), 0, bytes);
        return;
    }
    uint8_t* to = image + phase_y * phases_x_.size() * phase_bytes_ + at(block, row);
    for (const int phase_x : phases_x_) {
        fill_row(kernels, source, in_place, block,
                 row * stride_.y + phases_y_[phase_y] - padding_.y, phase_x, to);
        to += phase_bytes_;
    }
}

// Input row y at `to`, with the zeros at both ends.
void ImageLayout::fill_row(const Kernels& kernels, const Spikes& source, bool in_place, int block,
                           int y, int phase_x, uint8_t* to) const {
    const auto first_at = [&](int column) {  // whose input column is at least `column`
        const int at = (column + padding_.x - phase_x + stride_.x - 1) / stride_.x;
        return std::clamp(at, 0, pitch_);
    };
    const bool inside = y >= 0 && y < source.height;
    const int first = first_at(0), end = inside ? first_at(source.width) : first;
    std::memset(to, 0, size_t(first) * channels_);
    if (first < end && !in_place)
        kernels.copy_pixels({.source = &source,
                             .block = block,
                             .y = y,
                             .x = first * stride_.x + phase_x - padding_.x,
                             .step = stride_.x,
                             .pixels = end - first,
                             .to = to + size_t(first) * channels_});
    std::memset(to + size_t(end) * channels_, 0, size_t(pitch_ - end) * channels_);
}

}  // namespace lmht
