// Weights as they are given and as they are stored.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "native/aligned.hpp"
#include "shape.hpp"

namespace lmht::netx {

// A view of [outputs, inputs, height, width]; `inputs` of one group.
struct Kernel {
    const int32_t* values;
    int outputs, inputs;
    Pair size;

    int32_t at(int output, int input, int ky, int kx) const {
        return values[((size_t(output) * inputs + input) * size.y + ky) * size.x + kx];
    }
    size_t per_output() const { return size_t(inputs) * size.y * size.x; }
    size_t count() const { return outputs * per_output(); }
};

// The most that spikes of 1 can add to the current of an output, or take from it:
// max over the rows of [outputs, inputs] of Σ|weight|.
inline int64_t largest_sum(const int32_t* weight, size_t outputs, size_t inputs) {
    int64_t largest = 0;
    for (size_t o = 0; o < outputs; ++o) {
        int64_t sum = 0;
        for (size_t i = 0; i < inputs; ++i) sum += std::abs(int64_t(*weight++));
        largest = std::max(largest, sum);
    }
    return largest;
}

// `padded` zeros to be filled with weights: in 16 bits where all of the `n` values fit, otherwise
// in 32.
class Weights {
public:
    Weights(const int32_t* values, size_t n, size_t padded)
        : narrow_(std::all_of(values, values + n, [](int32_t w) { return w == int16_t(w); })),
          bytes_(padded * width()) {}

    int width() const { return narrow_ ? 2 : 4; }  // bytes per weight
    const void* at(size_t index) const { return bytes_.data() + index * width(); }
    void set(size_t index, int32_t weight) {
        if (narrow_)
            reinterpret_cast<int16_t*>(bytes_.data())[index] = int16_t(weight);
        else
            reinterpret_cast<int32_t*>(bytes_.data())[index] = weight;
    }

private:
    bool narrow_;
    AlignedVector<uint8_t> bytes_;
};

}  // namespace lmht::netx
