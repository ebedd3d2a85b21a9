// Python bindings: a `Network` is built layer by layer, `run` takes samples through it. Arrays are
// checked here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "simulator.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace lmht::netx;

namespace {

template <class T, int N>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Chw = std::tuple<int, int, int>;
using Two = std::pair<int, int>;
// counts, potential [B, N]; spikes [B, steps, N]; u, v [B, steps, N]
using RecordArrays =
    std::tuple<Array<int32_t, 2>, Array<int32_t, 2>, std::optional<Array<uint8_t, 3>>,
               std::optional<Array<int32_t, 3>>, std::optional<Array<int32_t, 3>>>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

Shape shape_of(const Chw& chw) {
    const Shape shape{std::get<0>(chw), std::get<1>(chw), std::get<2>(chw)};
    require(shape.channels > 0 && shape.height > 0 && shape.width > 0, "a shape has no places");
    return shape;
}

Layer layer_of(const Chw& chw, const Neurons& neurons, const Array<const int32_t, 1>& bias) {
    const Shape shape = shape_of(chw);
    require(bias.size() == shape.size(), "a bias does not fit its neurons");
    return {shape, neurons, {bias.data(), bias.data() + bias.size()}, nullptr, nullptr};
}

void add_input(Network& network, const Chw& chw, int keep_u, int keep_v, int threshold,
               Array<const int32_t, 1> bias) {
    require(network.layers.empty(), "an input layer is the first");
    Layer layer = layer_of(chw, {keep_u, keep_v, threshold, false}, bias);
    layer.shape.packed = true;
    network.add(std::move(layer));
}

void add_convolution(Network& network, const Chw& chw, int keep_u, int keep_v, int threshold,
                     Array<const int32_t, 1> bias, Array<const int32_t, 4> weight, Two stride,
                     Two padding, Two dilation, int groups) {
    const Shape source = network.source();
    Layer layer = layer_of(chw, {keep_u, keep_v, threshold, true}, bias);
    require(groups > 0 && weight.shape(1) * groups == size_t(source.channels) &&
                weight.shape(0) == size_t(layer.shape.channels) &&
                layer.shape.channels % groups == 0,
            "a weight does not fit its layers");
    require(stride.first > 0 && stride.second > 0 && dilation.first > 0 && dilation.second > 0 &&
                padding.first >= 0 && padding.second >= 0,
            "a geometry is impossible");
    const Geometry geometry{{int(weight.shape(2)), int(weight.shape(3))},
                            {stride.first, stride.second},
                            {padding.first, padding.second},
                            {dilation.first, dilation.second},
                            groups};
    layer.forward = convolution(source, layer.shape, geometry, weight.data());
    network.add(std::move(layer));
}

void add_dense(Network& network, int units, int keep_u, int keep_v, int threshold,
               Array<const int32_t, 1> bias, Array<const int32_t, 2> weight,
               std::optional<Array<const int32_t, 2>> delay,
               std::optional<Array<const int32_t, 2>> recurrent) {
    const Shape source = network.source();
    Layer layer = layer_of({units, 1, 1}, {keep_u, keep_v, threshold, false}, bias);
    require(weight.shape(0) == size_t(units) && weight.shape(1) == source.size(),
            "a weight does not fit its layers");
    if (delay) {
        require(delay->shape(0) == weight.shape(0) && delay->shape(1) == weight.shape(1),
                "a delay does not fit its weight");
        for (size_t i = 0; i < delay->size(); ++i)
            require(delay->data()[i] >= 0 && delay->data()[i] < 256, "a delay is beyond 0..255");
    }
    layer.forward = dense(source, layer.shape, weight.data(), delay ? delay->data() : nullptr);
    if (recurrent) {
        require(recurrent->shape(0) == size_t(units) && recurrent->shape(1) == size_t(units),
                "a recurrent weight does not fit its layer");
        layer.recurrent = dense(layer.shape, layer.shape, recurrent->data(), nullptr);
    }
    network.add(std::move(layer));
}

// Calls f(i) for i = 0..n-1 on `threads` threads; f must make what a thread keeps for itself.
template <class Work>
void share(int n, int threads, Work work) {
    std::atomic<int> next{0};
    std::exception_ptr failure;
    std::mutex lock;
    auto loop = [&] {
        try {
            work(next);
        } catch (...) {
            const std::lock_guard guard(lock);
            failure = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    for (int i = 1; i < std::min(threads, n); ++i) others.emplace_back(loop);
    loop();
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

void run(const Network& network, std::optional<Array<const int16_t, 3>> spikes,
         std::optional<Array<const int32_t, 2>> biases, bool graded, int steps, int reset_interval,
         int reset_offset, std::vector<RecordArrays> records, int threads) {
    require(spikes.has_value() != biases.has_value(), "a network is driven by spikes or by biases");
    require(!network.layers.empty() && records.size() == network.layers.size(),
            "a layer has no record");
    require(!biases == bool(network.layers[0].forward),
            "this network is driven by the other kind of input");
    require(steps >= 0 && reset_interval >= 0, "steps and intervals are not negative");
    const size_t batch = spikes ? spikes->shape(0) : biases->shape(0), size = network.input.size();
    require(spikes ? spikes->shape(1) == size_t(steps) && spikes->shape(2) == size
                   : biases->shape(1) == size,
            "an input does not fit the network");
    for (size_t i = 0; i < records.size(); ++i) {
        const auto& [counts, potential, fired, u, v] = records[i];
        const size_t n = network.layers[i].shape.size();
        const auto fits = [&](const auto& array) {
            return !array || (array->shape(0) == batch && array->shape(1) == size_t(steps) &&
                              array->shape(2) == n);
        };
        require(counts.shape(0) == batch && counts.shape(1) == n && potential.shape(0) == batch &&
                    potential.shape(1) == n && fits(fired) && fits(u) && fits(v),
                "a record does not fit its layer");
    }
    const nb::gil_scoped_release released;
    share(int(batch), threads, [&](std::atomic<int>& next) {
        Simulation simulation(network);
        std::vector<Record> into(records.size());
        for (int b; (b = next++) < int(batch);) {
            for (size_t i = 0; i < records.size(); ++i) {
                const auto& [counts, potential, fired, u, v] = records[i];
                const size_t n = network.layers[i].shape.size(), all = size_t(b) * steps * n;
                into[i] = {counts.data() + b * n, potential.data() + b * n,
                           fired ? fired->data() + all : nullptr, u ? u->data() + all : nullptr,
                           v ? v->data() + all : nullptr};
            }
            simulation.run({spikes ? spikes->data() + size_t(b) * steps * size : nullptr,
                            biases ? biases->data() + b * size : nullptr, graded},
                           {steps, reset_interval, reset_offset}, into.data());
        }
    });
}

}  // namespace

NB_MODULE(_core, module) {
    module.def("isas", &available_isas);
    nb::class_<Network>(module, "Network")
        .def(
            "__init__",
            [](Network* self, const Chw& input, const std::string& isa) {
                new (self) Network(shape_of(input), isa);
            },
            "input"_a, "isa"_a = "")
        .def_prop_ro("isa", [](const Network& network) { return network.kernels->name; })
        .def("add_input", &add_input)
        .def("add_convolution", &add_convolution)
        .def("add_dense", &add_dense, "units"_a, "keep_u"_a, "keep_v"_a, "threshold"_a, "bias"_a,
             "weight"_a, "delay"_a.none(), "recurrent"_a.none())
        .def("run", &run, "spikes"_a.none(), "biases"_a.none(), "graded"_a, "steps"_a,
             "reset_interval"_a, "reset_offset"_a, "records"_a, "threads"_a);
}
