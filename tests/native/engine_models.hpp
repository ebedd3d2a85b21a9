// Small models of the engine for its tests.
#pragma once
#include <random>
#include <vector>

#include "engine/core/model.hpp"

namespace lmht {

// Random numbers that are the same in every run.
inline int32_t random_between(std::mt19937& random, int32_t min, int32_t max) {
    return min + int32_t(random() % uint32_t(max - min + 1));
}

inline SynapseSpec convolution(int source, const std::vector<int8_t>& weight, int channels,
                               int kernel, int stride = 1) {
    return {.source = source,
            .weight = weight.data(),
            .channels_out = channels,
            .kernel = {kernel, kernel},
            .stride = {stride, stride},
            .padding = {kernel / 2, kernel / 2},
            .dilation = {1, 1},
            .groups = 1,
            .exponent = 0,
            .counted = true};
}

// Adds IF neurons with an identity T-GIM, or a uniform one, under one convolution. Returns the
// number of their output.
inline int add_convolution(Model& model, int source, int channels, int kernel, int stride = 1,
                           int levels = 1, bool uniform = false) {
    const Tensor in = model.tensors[source];
    std::mt19937 random(source + 1);
    std::vector<int8_t> weight(size_t(channels) * in.channels * kernel * kernel);
    for (int8_t& w : weight) w = int8_t(random_between(random, -127, 127));
    const std::vector<int32_t> bias(channels, 0), threshold(channels, 500), v0(channels, 0);
    std::vector<int32_t> omega(size_t(in.steps) * in.steps, uniform);
    for (int t = 0; t < in.steps; ++t) omega[size_t(t) * in.steps + t] = 1;
    return model.add_neurons({convolution(source, weight, channels, kernel, stride)},
                             {.bias = bias.data(),
                              .threshold = threshold.data(),
                              .v0 = v0.data(),
                              .omega = omega.data(),
                              .steps = in.steps,
                              .substeps = 1,
                              .levels = levels,
                              .leak = LEAK_ONE});
}

// Finishes a model by a linear read-out that covers the whole image of `source`.
inline void add_classes(Model& model, int source, int classes) {
    const Tensor in = model.tensors[source];
    const std::vector<int8_t> weight(size_t(classes) * in.channels * in.height * in.width, 1);
    const std::vector<int32_t> bias(classes, 0);
    SynapseSpec spec = convolution(source, weight, classes, 1);
    spec.kernel = {in.height, in.width};
    model.add_readout({spec}, bias.data(), classes, true);
}

}  // namespace lmht
