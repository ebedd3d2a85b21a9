// Costs of the paths on this machine. The table of a tier holds those of the processors on which it
// was tuned. Others differ in their caches, their clock and the speed of their instructions.
#pragma once
#include "model.hpp"

namespace lmht {

// What a run of one layer took, and what it did in that time, as the cost model counts it.
struct CostSample {
    double nanoseconds = 0;
    double rows = 0;    // rows of weights that were added
    double pixels = 0;  // output pixels, in all blocks
    double words = 0;   // words of inputs under the output rows, in all blocks
    double inputs = 0;  // inputs under the output pixels, in all blocks: slots of Path::Dense
    double tile_pixels = 0, products = 0;  // of Path::Dense by tiles
};

// Samples of layers that differ in one thing: the number of spikes, the path, or the size of the
// weights.
struct CostSamples {
    CostSample few, many;                // binary spikes, Path::Ones
    CostSample large_few, large_many;    // the same, with weights of LARGE_SLICE bytes
    CostSample shared;                   // as `many`, Path::Shared
    CostSample graded_few, graded_many;  // Path::Graded
    CostSample dense, large_dense;       // Path::Dense; empty where the tier has none
    double shared_rows = 0;              // rows of `many` that sharing saves
};

// A cost that differs from the table by more than this factor, relative to a row of weights, is
// taken for a failed measurement and limited to it.
constexpr double MAX_DEVIATION = 3;

// The same for costs whose measurement fails often. An extra list is a small difference of two
// times. Tiles are multiplied at the same rate per cycle by all processors; but other programs can
// slow this unit down for seconds: longer than a measurement takes, and shorter than most processes
// run.
constexpr double MAX_DEVIATION_OF_UNSURE = 1.5;

// The costs that explain the samples, in nanoseconds. What they do not tell is as in `table`,
// relative to a row of weights.
Costs costs_from(const CostSamples& samples, const Costs& table);

// Costs of a tier, measured in some milliseconds at the first call of this process. Only speed
// depends on them.
const Costs& measured_costs(const Kernels& kernels);

}  // namespace lmht
