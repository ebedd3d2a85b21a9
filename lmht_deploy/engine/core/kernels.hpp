// The one interface between layer logic and the code of an instruction set (a tier): plain structs
// and a table of functions. Tiers are compiled with flags of their own, so nothing here may define
// a function.
#pragma once
#include "native/fixed_point.hpp"
#include "spikes.hpp"

namespace lmht {

// How a synapse adds its currents for one output row.
enum class Path : uint8_t {
    Ones,    // list of active inputs, one row of weights added per spike; of binary spikes
    Shared,  // the same, block by pairs: what is active in both is listed apart, and added once for
             // both
    Graded,  // two lists: inputs of odd k once, and k / 2 times those whose rows count twice
    Weighted,     // list of active inputs, each with its value
    Dense,        // every input, by dot products
    Channelwise,  // one weight a channel and tap: identity shortcuts and depthwise convolutions
};
constexpr int PATHS = 6;

// The inputs of one output row, laid out by column position, kernel row and channel: slot
// (position, ky, c) is at (position * kernel_height + ky) * pitch + (c - channel0), and reads row
// `slot - first[x] * ...` of the weights; dense values lie without gaps, `channels` from one kernel
// row to the next.
struct RowInputs {
    Path path = Path::Ones;
    // Byte offsets of weight rows, by list; `starts` delimits the positions. There is a list a
    // block, and behind those, for Shared, one for what each pair of blocks shares, empty where the
    // lists of the pair are complete; for Graded one a block for the rows that count twice.
    uint32_t* rows = nullptr;    // [lists][row_pitch]
    int32_t* values = nullptr;   // [blocks][row_pitch], Weighted
    uint32_t* starts = nullptr;  // [lists][positions + 1]
    uint8_t* dense = nullptr;    // [blocks][row_pitch], Dense: the value of every slot
    size_t row_pitch = 0;
    int positions = 0;
};

// What one list holds.
struct Listed {
    int block;  // of the source (a step, or its whole window)
    int list;   // of `RowInputs`; for Dense: the block
    int other;  // a block of which only what `block` shares with it is listed, or only what it does
                // not; or `block`
    bool shared;  // which of the two
};

// Fills one list of `RowInputs` for one output row.
struct GatherInputs {
    const Spikes* source;
    Listed of;
    int first_row, row_step, kernel_height;  // input rows first_row + ky * row_step, where inside
    const int32_t* columns;                  // [positions] input column, -1 in the padding
    int channel0, channels,
        pitch;  // range of input channels; slots from one kernel row to the next
    RowInputs* into;
};

// A synapse as one output row and one slice of 64 output channels meet it.
struct SynapseRow {
    const RowInputs* inputs;
    int exponent;  // its currents are shifted left by this
    const uint8_t*
        weights;  // [kernel_width * column_rows][64] biased by 128, see `pack` in weights.hpp
    const int8_t*
        quads;  // Path::Dense: [slots / 4 rounded up][64][4], signed, zero where there is no slot
    const int32_t* first;  // [width] position of the first column of each output pixel
    int kernel_width;
    int column_rows;   // kernel_height * pitch, of lists
    int column_slots;  // kernel_height * channels, of dense values
    // Path::Channelwise
    const Spikes* source;
    const int32_t* taps;  // [kernel_height][kernel_width] rows of 64, `tap_pitch` apart
    int tap_pitch;
    int first_row, row_step, kernel_height, first_column, column_step, stride_x;
};

// One T-GIM entry that is not zero.
struct Term {
    int32_t block, weight;
};

// What drives the steps.
enum class Drive : uint8_t {
    One,       // each step one current, as it is: the identity
    Constant,  // all steps the same: the uniform T-GIM
    Mixed,
};

// LM-HT neurons of one slice; arrays are [64].
struct NeuronSlice {
    const int32_t *bias, *threshold, *v0;  // bias of a block: times the steps that it sums
    const Term* terms;                     // of all sub-steps, one after another
    const int32_t* term_start;             // [steps + 1]
    int steps, substeps, levels, leak;
    Drive drive;
};

struct NeuronRow {
    int width, blocks, n_synapses;
    const SynapseRow* synapses;  // at least one: the first adds to the biases
    NeuronSlice neurons;
    int32_t* currents;  // [width][blocks][64]; `neurons` uses it from tile to tile as scratch
    int quiet;          // blocks before the first one with a spike under the row
    const Spikes* out;
    int y, word;
    const uint8_t* ahead;  // weights that are needed soon, to be fetched meanwhile
    size_t ahead_bytes;
};

// Pooling of one output row over windows that may reach into the padding.
struct PoolRow {
    const Spikes *in, *out;
    int kernel_y, kernel_x, stride_x, padding_x, first_row, y;
    bool max;
};

constexpr int TILE = 12;  // output pixels whose currents are added together
constexpr int QUAD = 4;   // slots that one dot product takes

// Cycles, for the choice of a path.
struct Costs {
    float add, graded,
        weighted;  // a row of 64 weights added for a binary spike; for a graded one; with a value
    float far;     // how many times more such a row costs in a layer whose weights do not fit the
                   // core's cache
    float dense;   // a slot of the dense path
    float pixel, word;  // of lists: an output pixel, and a word of inputs, whatever is in them
    float split;        // an output pixel of one more list
};

struct Kernels {
    const char* name;
    Costs costs;
    int dense_most;  // largest value of the dense path; 0 where the tier has none

    void (*list)(const GatherInputs&);   // all paths of lists
    void (*fill)(const GatherInputs&);   // Path::Dense
    void (*neurons)(const NeuronRow&);   // currents, T-GIM, potentials, spikes of a row
    void (*currents)(const NeuronRow&);  // currents of a row with biases alone
    void (*fire)(const NeuronRow&);      // spikes of a row whose currents are there
    int64_t (*sum_steps)(const Spikes& in, const Spikes& out,
                         int y);  // each of out.steps is the sum of in.steps / out.steps; returns
                                  // how many sums are not 0
    void (*pool)(const PoolRow&);
    void (*tally)(const Spikes&, const Tally&, int y);
};

constexpr int LIST_SLACK = 64;  // entries that `list` and `fill` may write beyond the last

const Kernels* kernels_generic();
const Kernels* kernels_avx2();        // null where not compiled in
const Kernels* kernels_avx512vnni();  // null where not compiled in

}  // namespace lmht
