// The one interface between the simulation and the code of an instruction set (a tier): plain structs and a table of
// functions. Tiers are compiled with flags of their own, so nothing here may define a function.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lmht::netx {

constexpr int LANES = 8;  // channels of a layer are padded to a multiple of this

// The place of a spike in its row: x * pitch + channel. Lists are sorted.
using Spike = uint32_t;
constexpr int SLACK = LANES;  // entries that `neurons` may write beyond the last spike

// CUBA neurons as Lava's fixed-point models have them; constants in the unit of a potential, 1/64 of a weight.
struct Neurons {
    int32_t keep_u, keep_v;  // what a step leaves of u and v, of 4096
    int32_t threshold;
    bool wraps;  // synaptic currents wrap at 24 bits, as a convolution's do
};

// One row of neurons [width][pitch].
struct NeuronRow {
    Neurons neurons;
    int width, channels, pitch;
    int32_t *u, *v;
    const int32_t* bias;
    int32_t* current;  // what arrived, read and set to zero; null: nothing did
    Spike* spikes;     // room for width * pitch + SLACK
};

struct RowResult {
    int spikes;
    bool rests;  // without a current, the next step changes nothing and fires nothing
};

// Neighbouring outputs that one input column reaches through one row of the kernel, and the first of their taps.
struct Run {
    int to, pixels, tap;
};

// The spikes of one input row through one row of the kernel into one output row.
struct ConvolutionRow {
    const Spike* spikes;
    const int32_t* values;  // null: all are 1
    int n, source_pitch;
    const Run* runs;
    const int* run_start;  // [input width + 1]
    const void* weights;   // [channel][tap][blocks][LANES]
    int weight_bytes;      // 2 or 4
    size_t channel_pitch;  // weights from one input channel to the next
    int32_t* current;      // [width][pitch]
    int pitch;
    const int* first;  // [channel] the first lane of the channel's group
    int blocks;        // of LANES that a group spans
};

struct Kernels {
    const char* name;
    RowResult (*neurons)(const NeuronRow&);
    void (*convolve)(const ConvolutionRow&);
    void (*add)(int32_t* current, const void* weights, int weight_bytes, int blocks, int32_t value);  // current += weights * value
};

const Kernels* kernels_generic();
const Kernels* kernels_avx2();  // null where not compiled in

}  // namespace lmht::netx
