// The table of kernels of a tier. What a layer does with one row is written once for all tiers, in
// templates over `Tier`: `Portable` with the primitives that the tier does better.
//
//     simd.hpp           vectors of one tier
//     prefetcher.hpp     weights that are needed soon
//     portable.hpp       primitives
//     values.hpp         values of one word of 64 channels
//     lists.hpp          lists of active inputs of a row
//     dense_values.hpp   all inputs of a row, for dot products
//     pixels.hpp         pixels of a row, for tiles
//     currents.hpp       currents of a tile
//     amx.cpp            products of tiles
//     neurons.hpp        LM-HT neurons of a row
//     sums.hpp           sums of steps, pooling
//     tally.hpp          counting
#pragma once
#include "currents.hpp"
#include "dense_values.hpp"
#include "lists.hpp"
#include "neurons.hpp"
#include "sums.hpp"
#include "tally.hpp"

namespace lmht {
namespace {

template <class Tier>
constexpr Kernels table(const char* name, const Costs& costs) {
    return {.name = name,
            .costs = costs,
            .dense_max = Tier::dense_max,
            .dot_slots = Tier::dot_slots,
            .list = list<Tier>,
            .fill = fill<Tier>,
            .copy_pixels = nullptr,
            .multiply = nullptr,
            .neurons = neurons<Tier>,
            .currents = currents<Tier>,
            .fire = fire<Tier>,
            .sum_steps = sum_steps<Tier>,
            .compact = compact,
            .pool = pool<Tier>,
            .tally = tally<Tier>};
}

}  // namespace
}  // namespace lmht
