// The one interface between the simulation and the code of an instruction set (a tier): plain
// structs and a table of functions. Tiers are compiled with flags of their own, so nothing here may
// define a function. See native/tiers.hpp.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lmht::netx {

constexpr int LANES = 8;       // channels that convolutions reach are padded to a multiple of this
constexpr int ROW_LANES = 16;  // rows of neurons are padded to a multiple of this

constexpr int STATE_BITS = 6;  // u and v keep this many bits below the unit of a weight

// The neuron of a spike, as its index in its row: x * pitch + channel. Lists are sorted.
using Spike = uint32_t;
constexpr int SLACK = ROW_LANES;  // entries that `neurons` may write behind the last spike

// CUBA neurons as Lava's fixed-point models have them. Constants are in the unit of a state.
struct Neurons {
    int32_t keep_u, keep_v;  // the share of u and v that a step leaves, in units of 1 / LEAK_ONE
    int32_t threshold;
    bool wraps;  // synaptic currents wrap at 24 bits, as those of a convolution do
};

// One row of neurons [width][pitch], padded to `lanes`.
struct NeuronRow {
    Neurons neurons;
    int lanes;
    int32_t *u, *v;  // u: null where a step leaves nothing of it and it is not recorded
    const int32_t* bias;
    void* current;           // what arrives, set to zero when read; null: nothing arrives
    int current_bytes;       // 2 or 4
    const uint8_t* counted;  // a bit per lane: 0 in the padding, whose spikes do not count
    Spike* spikes;           // room for lanes + SLACK
    uint8_t* bits;           // the same spikes as a bit per lane
    uint8_t* recent;         // spike counts, one added per spike
};

struct RowResult {
    int spikes;
    bool rests;  // without a current, the next step changes nothing, fires and counts nothing
    int wrapped, clipped;  // how often a current left its 24 bits, and how often v did
};

// Neighboring outputs that one input column reaches through one row of the kernel. See Axis.
struct Run {
    int output, length;  // the first output, and the number of outputs
    int tap;             // of the first output; the taps of the others follow
};

// The spikes from `begin` to `end` of one input column, all of one group of channels, whose first
// lane is `first`.
struct Column {
    int x, first, begin, end;
};

// The spikes of one input row through one row of the kernel into one output row.
struct ConvolutionRow {
    const Spike* spikes;
    const int32_t* values;  // null: all are 1
    const Column* columns;
    int n, apart;  // the number of columns; columns that are `apart` columns apart share no output
    int source_pitch;
    const Run* runs;
    const int* run_start;  // [input width + 1]
    const void* weights;   // [channel][tap][blocks][LANES]
    int weight_bytes;      // 2 or 4
    size_t channel_pitch;  // weights from one input channel to the next
    void* current;         // [width][pitch]
    int current_bytes;     // 2 or 4; 2 only where weights also have 2 and all values are 1
    int pitch;
    int blocks;  // of LANES, per group
};

struct Kernels {
    const char* name;
    RowResult (*neurons)(const NeuronRow&);
    void (*convolve)(const ConvolutionRow&);
    void (*add)(void* current, int current_bytes, const void* weights, int weight_bytes, int blocks,
                int32_t value);  // current += weights * value
};

const Kernels* kernels_generic();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();

}  // namespace lmht::netx
