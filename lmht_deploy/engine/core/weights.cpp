#include "weights.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "spikes.hpp"

namespace lmht {

void FreeAligned::operator()(void* p) const { std::free(p); }

template <class T>
Aligned<T> aligned(size_t n) {
    const size_t bytes = (n * sizeof(T) + 63) / 64 * 64 + 64;
    void* p = std::aligned_alloc(64, bytes);
    if (!p) throw std::bad_alloc();
    std::memset(p, 0, bytes);
    return Aligned<T>(static_cast<T*>(p));
}
template Aligned<uint8_t> aligned<uint8_t>(size_t);
template Aligned<int32_t> aligned<int32_t>(size_t);

namespace {

int channel_of_byte(int byte) {
    constexpr int base[4] = {0, 32, 16, 48};
    return byte / 4 + base[byte % 4];
}

}  // namespace

PackedWeights PackedWeights::pack(const int8_t* weight, int channels_out, int channels_in, int groups, int kernel_y, int kernel_x, int exponent) {
    const int out = channels_out / groups, in = channels_in / groups;
    PackedWeights packed;
    packed.exponent = exponent;
    for (int o = 0; o < channels_out; o += LANES) {
        const int last = std::min(o + LANES, channels_out) - 1;
        const int channel0 = o / out * in, channels = (last / out + 1) * in - channel0;
        packed.slices.push_back({channel0, channels, packed.size});
        packed.size += size_t(kernel_x) * kernel_y * channels * LANES;
    }
    packed.size += 3 * LANES;  // the dense path reads rows in fours
    packed.bytes = aligned<uint8_t>(packed.size);
    std::memset(packed.bytes.get(), 128, packed.size);
    for (size_t s = 0; s < packed.slices.size(); ++s) {
        const Slice& slice = packed.slices[s];
        for (int byte = 0; byte < LANES; ++byte) {
            const int o = int(s) * LANES + channel_of_byte(byte);
            if (o >= channels_out) continue;
            const int group0 = o / out * in;
            for (int c = 0; c < in; ++c)
                for (int ky = 0; ky < kernel_y; ++ky)
                    for (int kx = 0; kx < kernel_x; ++kx) {
                        const size_t row = (size_t(kx) * kernel_y + ky) * slice.channels + (group0 + c - slice.channel0);
                        packed.bytes[slice.offset + row * LANES + byte] = uint8_t(weight[((size_t(o) * in + c) * kernel_y + ky) * kernel_x + kx] + 128);
                    }
        }
    }
    return packed;
}

}  // namespace lmht
