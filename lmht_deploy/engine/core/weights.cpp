#include "weights.hpp"

#include <algorithm>
#include <cstring>

#include "kernels.hpp"

namespace lmht {

namespace {

// See the drawing in weights.hpp.
int channel_of_byte(int byte) {
    constexpr int base[4] = {0, 32, 16, 48};
    return byte / 4 + base[byte % 4];
}

}  // namespace

int PackedWeights::max_channels() const {
    int channels = 0;
    for (const Slice& slice : slices) channels = std::max(channels, slice.channels);
    return channels;
}

PackedWeights PackedWeights::pack(const int8_t* weight, int channels_out, int channels_in,
                                  int groups, int kernel_y, int kernel_x, bool quads) {
    const int out = channels_out / groups, in = channels_in / groups;
    PackedWeights packed;
    for (int o = 0; o < channels_out; o += LANES) {
        const int last = std::min(o + LANES, channels_out) - 1;
        const int channel0 = o / out * in, channels = (last / out + 1) * in - channel0;
        const int places = kernel_x * kernel_y;
        const int pitch = channels + (places > 1 && channels >= LANES ? SKEW : 0);
        const size_t bytes = size_t(places) * pitch * LANES,
                     quads_bytes =
                         quads ? (size_t(places) * channels + QUAD - 1) / QUAD * QUAD * LANES : 0;
        packed.slices.push_back(
            {channel0, channels, pitch, packed.size, bytes, packed.quads_size, quads_bytes});
        packed.size += bytes;
        packed.quads_size += quads_bytes;
    }
    packed.own = aligned(packed.size + packed.quads_size);
    packed.bytes = packed.own.get();
    std::memset(packed.own.get(), 128, packed.size);
    for (size_t s = 0; s < packed.slices.size(); ++s) {
        const Slice& slice = packed.slices[s];
        for (int byte = 0; byte < LANES; ++byte) {
            const int o = int(s) * LANES + channel_of_byte(byte);
            if (o >= channels_out) continue;
            const int group0 = o / out * in;
            for (int c = 0; c < in; ++c)
                for (int ky = 0; ky < kernel_y; ++ky)
                    for (int kx = 0; kx < kernel_x; ++kx) {
                        const size_t row = (size_t(kx) * kernel_y + ky) * slice.pitch +
                                           (group0 + c - slice.channel0);
                        packed.own[slice.offset + row * LANES + byte] = uint8_t(
                            weight[((size_t(o) * in + c) * kernel_y + ky) * kernel_x + kx] + 128);
                    }
        }
    }
    if (quads) packed.pack_quads();
    return packed;
}

void PackedWeights::pack_quads() {
    int8_t* to = reinterpret_cast<int8_t*>(own.get() + size);
    quads = to;
    for (const Slice& slice : slices)
        for (size_t i = 0; i < slice.bytes; ++i) {
            const size_t place = i / LANES / slice.pitch, channel = i / LANES % slice.pitch;
            if (channel >= size_t(slice.channels)) continue;
            const size_t row = place * slice.channels + channel, quad = row / QUAD;
            to[slice.quads_offset + (quad * LANES + channel_of_byte(i % LANES)) * QUAD +
               row % QUAD] = int8_t(bytes[slice.offset + i] ^ 0x80);
        }
}

Aligned<uint8_t> gather_weights(const std::vector<PackedWeights*>& all) {
    size_t bytes = 0;
    for (const PackedWeights* weights : all) bytes += weights->size + weights->quads_size;
    Aligned<uint8_t> block = aligned(bytes);
    uint8_t* at = block.get();
    for (PackedWeights* weights : all) {
        if (!weights->own) continue;
        std::memcpy(at, weights->own.get(), weights->size + weights->quads_size);
        weights->bytes = at;
        if (weights->quads) weights->quads = reinterpret_cast<int8_t*>(at + weights->size);
        weights->own.reset();
        at += weights->size + weights->quads_size;
    }
    return block;
}

}  // namespace lmht
