// The one interface between layer logic and the code of an instruction set (a tier): plain structs
// and a table of functions. Tiers are compiled with flags of their own, so nothing here may define
// a function.
#pragma once
#include "native/fixed_point.hpp"
#include "spikes.hpp"

namespace lmht {

// How a synapse adds its currents for one output row.
enum class Path : uint8_t {
    Ones,         // binary spikes: one row of weights per spike
    Shared,       // binary spikes: as Ones, but work common to two steps is done once
    Graded,       // counts: one row for odd k, and k / 2 rows that count twice
    Weighted,     // any integer: one row per active input, multiplied by its value
    Dense,        // counts: every input, by dot products
    Channelwise,  // one weight per channel and tap: identity shortcuts, depthwise convolutions
};
constexpr int PATHS = 6;

// The inputs under one output row, in the order [column position][kernel row][channel]. A slot is
// one such input; it names one row of 64 weights:
//
//     position      0               1               2          ...
//     kernel row    0   1   2       0   1   2       0   1   2
//     slots       |ccc|ccc|ccc|   |ccc|ccc|ccc|   |ccc|ccc|ccc|
//     pixel 0     `-------------- kernel.x positions ---------'
//     pixel 1                     `-------------- kernel.x positions ----- (stride 1)
//
// The list of a block holds the byte offsets of the weight rows of its active slots, in order, so
// the inputs of every output pixel are a contiguous range of it: from starts[first position] to
// starts[first position + kernel.x].
struct RowInputs {
    Path path = Path::Ones;
    // [lists][row_pitch]. First one list per block. Behind them, for Shared, one per pair of blocks
    // for what both share (empty where the lists of the pair are complete); for Graded, one per
    // block for the rows that count twice.
    uint32_t* rows = nullptr;
    int32_t* values = nullptr;   // [blocks][row_pitch], Weighted
    uint32_t* starts = nullptr;  // [lists][positions + 1]
    size_t row_pitch = 0;
    int positions = 0;
    // Dense, by dot products: the value of every slot, [blocks][dense_pitch].
    uint8_t* dense = nullptr;
    size_t dense_pitch = 0;
    uint64_t packed = 0;  // the bits of all packed counts among them
};

// Which active inputs of a block a list holds, given its partner block.
enum class Select : uint8_t {
    All,
    Shared,    // those that are active in both
    Unshared,  // those that are not active in the partner
};

// Fills one list of `RowInputs` (or the dense values of one block) for one output row.
struct GatherRow {
    const Spikes* source;
    int block;  // step of `source`
    int list;   // index of the list
    Select select;
    int partner;                             // block; the same one for Select::All
    int first_row, row_step, kernel_height;  // input rows first_row + ky * row_step, where inside
    const int32_t* columns;                  // [positions] input column, -1 in the padding
    int channel0, channels;                  // range of input channels
    int pitch;                               // slots from one kernel row to the next
    RowInputs* into;
};

// A synapse as one output row and one slice of 64 output channels see it.
struct SynapseRow {
    const RowInputs* inputs;
    int max_count;           // largest k, Path::Dense
    int exponent;            // its currents are shifted left by this
    const uint8_t* weights;  // [kernel_width * column_rows][64] biased by 128: see `PackedWeights`
    const int8_t* quads;     // Path::Dense: see `QuadOrder`
    const int32_t* sums;     // Path::Dense, multiplied before: [blocks][sums_pitch]; or null
    size_t sums_pitch;       // from block to block
    const int32_t* first;    // [width] first position of each output pixel
    int kernel_width;
    int column_rows;               // kernel_height * pitch, of lists
    int column_slots;              // kernel_height * channels, of dense values
    int first_slot, inside_slots;  // Path::Dense: the slots of a position that are not padding
    // Path::Channelwise
    const Spikes* source;
    const int32_t* taps;  // [kernel_height][kernel_width] rows of 64 of 8 bits, `tap_pitch` apart
    int tap_pitch;
    int first_row, row_step, kernel_height, first_column, column_step, stride_x;
    bool padded;
};

// Pixels of one input row, to be copied as bytes: [pixels][channels].
struct PixelCopy {
    const Spikes* source;
    int block, y;
    int x, step, pixels;  // input columns x, x + step, ...
    uint8_t* to;
};

// At most 16 output pixels that follow each other in an image: see image.hpp.
struct PixelTile {
    const uint8_t* values;  // under the first place of the kernel, of the first pixel
    int32_t* sums;          // [pixels][64]
};

// Path::Dense as a product of matrices, for tiers that multiply tiles: the sums of one slice. The
// tiles may be of any rows, blocks and windows.
struct DenseProduct {
    const PixelTile* tiles;
    int n_tiles, pixels;      // of each tile
    size_t value_pitch;       // from pixel to pixel
    const size_t* offsets;    // [depth] of the values of each group of DEPTH slots
    int depth;                // groups of DEPTH slots
    const int8_t* quads;      // QuadOrder::Tiles
    const uint8_t* prefetch;  // weights that are needed soon
    size_t prefetch_bytes;
};

// One entry of the T-GIM that is not zero.
struct Term {
    int32_t block, weight;
};

// How the currents of the blocks become the input I[t] of the steps.
enum class Drive : uint8_t {
    One,       // each step takes one current as it is: the identity
    Constant,  // the same for all steps: the uniform T-GIM
    Mixed,
};

// What k spikes do to the potential v.
enum class Reset : uint8_t {
    Subtract,      // v - k * theta
    SubtractLate,  // the same at the next step, after the leak
    Zero,          // 0 where k > 0
};

// LM-HT neurons of one slice; arrays are [64].
struct NeuronSlice {
    const int32_t *bias, *threshold, *v0;  // bias of a block: times the steps that it sums
    const int32_t* window;                 // [steps][64], if windows are fired at once
    bool narrow_window;                    // whether 16 bits suffice to compare with them
    const Term* terms;                     // of all sub-steps, one after another
    const int32_t* term_start;             // [steps + 1]
    int steps, substeps, levels, leak;
    Drive drive;
    Reset reset;
    const int32_t* floor;  // lower bound of the potential; null for none
};

struct NeuronRow {
    int width, channels, blocks, n_synapses;
    const SynapseRow* synapses;  // at least one: the first adds to the biases
    NeuronSlice neurons;
    int32_t* currents;       // [width][blocks][64]; `neurons` uses it from tile to tile as scratch
    int silent_blocks;       // blocks before the first one with a spike under the row
    const int32_t* earlier;  // [width][64]: v before the first step; null: v0
    int32_t* kept;           // [width][64]: where v after the last step goes; null: nowhere
    const Spikes* out;
    const Spikes* window;  // the sums of all steps, if they are fired at once; else null
    int y, word;
    const uint8_t* prefetch;  // weights that are needed soon
    size_t prefetch_bytes;
};

// Pooling of one output row over windows that may reach into the padding.
struct PoolRow {
    const Spikes *in, *out;
    const Spikes* window;  // the sums of all steps, of which `out` gets the mask; else null
    int kernel_y, kernel_x, stride_x, padding_x, first_row, y;
    bool max;
};

constexpr int TILE = 12;            // output pixels whose currents are added together
constexpr int QUAD = 4;             // slots per dot product
constexpr int DEPTH = 64;           // slots per product of tiles
constexpr int TILE_SIZE = 16;       // output pixels, and output channels, per product of tiles
constexpr int LIST_SLACK = 64;      // entries that `list` and `fill` may write beyond the last
constexpr int MAX_COMPARISONS = 8;  // levels up to which comparing is cheaper than dividing
constexpr int MAX_TWICE = 2;        // average entries per slot that the lists of Path::Graded hold

// For the choice of a path: nanoseconds where they are measured (see cost_measurement.hpp), cycles
// in the tables of the tiers. Only their ratios count.
struct Costs {
    float binary_row;          // adding a row of 64 weights, Path::Ones and Path::Shared
    float graded_row;          // the same, Path::Graded
    float weighted_row;        // the same, Path::Weighted
    float large_slice_factor;  // cost of a row of a slice of LARGE_SLICE bytes, relative
    float dense_slot;          // a slot of Path::Dense, by dot products
    float dense_pixel;         // an output pixel of them
    float dense_word;          // Path::Dense: a word of inputs, whatever is active
    float tile_product = 0;    // a product of tiles, Path::Dense; 0 where the tier has none
    float tile_pixel = 0;      // an output pixel of them
    float list_pixel;          // lists: an output pixel, whatever is active
    float graded_pixel;        // the same of counts: two lists
    float list_word;           // lists: a word of inputs, whatever is active
    float extra_list_pixel;    // an output pixel of one more list, Path::Shared
    // A byte of weights that lists read, where those of a model do not stay in the caches of a
    // core. Dense values need as many, but those are fetched while others are multiplied. Not
    // measured.
    float streamed_byte = 0.15f;
};

struct Kernels {
    const char* name;
    Costs costs;
    int dense_max;  // largest value of Path::Dense; 0 where the tier has none
    int dot_slots;  // 4 for weights in QuadOrder::Rows, 8 for QuadOrder::Pairs

    void (*list)(const GatherRow&);  // all paths with lists
    void (*fill)(const GatherRow&);  // Path::Dense, by dot products
    // Path::Dense, by tiles: null where the tier has none.
    void (*copy_pixels)(const PixelCopy&);
    void (*multiply)(const DenseProduct&);
    void (*neurons)(const NeuronRow&);   // currents, T-GIM, potentials, spikes of a row
    void (*currents)(const NeuronRow&);  // currents of a row with biases alone
    void (*fire)(const NeuronRow&);      // spikes of a row whose currents are there
    // Row y of `out`, each of whose steps is the sum of in.steps / out.steps steps of `in`; returns
    // how many sums are not 0.
    int64_t (*sum_steps)(const Spikes& in, const Spikes& out, int y);
    // Row y of View::Compact of packed counts, and its active blocks, as `step_bit`; returns how
    // many entries are not 0.
    int64_t (*compact)(const Spikes& in, const Spikes& out, int y, uint64_t& active_blocks);
    // Returns how many entries of `window` are not 0.
    int64_t (*pool)(const PoolRow&);
    // Row y of `steps`; `sums` have the same sums over the steps. Returns how many entries of
    // `steps` are not 0.
    int64_t (*tally)(const Spikes& steps, const Spikes& sums, const Tally&, int y);
};

const Kernels* kernels_generic();
const Kernels* kernels_avx2();        // null where not compiled in
const Kernels* kernels_avxvnni();     // null where not compiled in
const Kernels* kernels_avx512vnni();  // null where not compiled in
const Kernels* kernels_amx();         // null where not compiled in
const Kernels* kernels_neon();        // null where not compiled in
const Kernels* kernels_dotprod();     // null where not compiled in
const Kernels* kernels_i8mm();        // null where not compiled in

}  // namespace lmht
