// The natural logarithm, with the same bits on every processor: std::log and NumPy's differ.
#pragma once
#include <bit>
#include <cstdint>

namespace lmht::events {

// ln(x) of a positive normal float, to about two units in the last place. Each operation is rounded
// as IEEE 754 says, and the order is fixed: the build forbids fused operations (CMakeLists.txt).
inline float logarithm(float x) {
    constexpr int32_t ROOT_HALF = 0x3f3504f3;  // the bits of sqrt(1/2)
    constexpr float LN2 = 0.69314718f;
    const int32_t bits = std::bit_cast<int32_t>(x);
    const int32_t exponent = (bits - ROOT_HALF) >> 23;  // x = m · 2^exponent, m within ±ln2/2 of 1
    const float m = std::bit_cast<float>(bits - (exponent << 23));
    const float s = (m - 1) / (m + 1), square = s * s;  // ln m = 2 artanh s, |s| < 0.172
    const float series =
        square * (1 / 3.f + square * (1 / 5.f + square * (1 / 7.f + square * (1 / 9.f))));
    return float(exponent) * LN2 + (2 * s + 2 * s * series);
}

}  // namespace lmht::events
