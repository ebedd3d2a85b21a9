// Synapses: spikes of one step into currents of later steps, one weight row a spike.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "kernels.hpp"
#include "native/aligned.hpp"

namespace lmht::netx {

struct Pair {
    int y, x;
};

// Channels, rows and columns; a dense layer has one place. Inside, neurons lie as
// [rows][columns][pitch].
struct Shape {
    int channels, height, width;
    bool packed = false;  // channels are not padded, as no convolution adds to them

    int pitch() const { return packed ? channels : (channels + LANES - 1) / LANES * LANES; }
    size_t row() const { return (size_t(width) * pitch() + ROW_LANES - 1) / ROW_LANES * ROW_LANES; }
    size_t padded() const { return height * row(); }
    size_t size() const { return size_t(channels) * height * width; }
};

// The spikes of a layer at one step, row by row: row y's are the first counts[y] of those from
// start(y) on. Where there are any, bits(y) has them as a bit a lane, and zeros for 32 bits more.
struct Active {
    Shape shape;
    std::vector<Spike> spikes;
    std::vector<int32_t> values;  // of an input with graded spikes; empty: all are 1
    std::vector<int> counts;
    std::vector<uint8_t> fired;

    explicit Active(Shape shape, bool graded = false)
        : shape(shape),
          spikes(shape.padded() + SLACK),
          values(graded ? shape.padded() : 0),
          counts(shape.height),
          fired(shape.height * bits_pitch()) {}
    size_t start(int y) const { return y * shape.row(); }
    size_t bits_pitch() const { return shape.row() / 8 + sizeof(uint32_t); }
    const uint8_t* bits(int y) const { return fired.data() + y * bits_pitch(); }
    uint8_t* bits(int y) { return fired.data() + y * bits_pitch(); }
    const int32_t* values_of(int y) const {
        return values.empty() ? nullptr : values.data() + start(y);
    }
};

// Currents on their way to a layer: a ring with one slot a step.
class Arrivals {
public:
    Arrivals(Shape shape, int slots)
        : size_(shape.padded()),
          rows_(shape.height),
          slots_(slots),
          currents_(slots * size_),
          touched_(size_t(slots) * rows_) {}

    // Begins anew with currents of 16 bits or of 32.
    void clear(bool narrow);
    void advance() { now_ = (now_ + 1) % slots_; }
    // What arrives at this step (delay -1), at the next one (0), and so on.
    uint8_t* current(int delay, size_t at = 0) {
        return reinterpret_cast<uint8_t*>(currents_.data()) + (slot(delay) * size_ + at) * bytes_;
    }
    int bytes() const { return bytes_; }
    // By row, whether anything does.
    uint8_t* touched(int delay) { return touched_.data() + slot(delay) * rows_; }

private:
    size_t slot(int delay) const { return size_t(now_ + 1 + delay) % slots_; }

    size_t size_, rows_;
    int slots_, now_ = 0, bytes_ = 4;
    AlignedVector<int32_t> currents_;
    std::vector<uint8_t> touched_;
};

class Synapse {
public:
    virtual ~Synapse() = default;
    virtual void deliver(const Active& source, Arrivals& to, const Kernels& kernels) const = 0;
    virtual int longest_delay() const { return 0; }
    // The most that spikes of 1 can add to one current, or take from it; the largest integer:
    // currents must have 32 bits.
    virtual int64_t reach() const = 0;
};

struct Geometry {
    Pair kernel, stride, padding, dilation;
    int groups;
};

// weight [C_out, C_in / groups, kh, kw]
std::unique_ptr<Synapse> convolution(Shape source, Shape target, const Geometry& geometry,
                                     const int32_t* weight);
// weight, delay [N_out, N_in], inputs in the order (C, H, W); delay may be null
std::unique_ptr<Synapse> dense(Shape source, Shape target, const int32_t* weight,
                               const int32_t* delay);

}  // namespace lmht::netx
