// Python bindings: a `Network` is built layer by layer, `run` simulates samples. Arguments are
// checked here. netx/_core.pyi describes them for Python.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <variant>

#include "native/bindings.hpp"
#include "native/fixed_point.hpp"
#include "native/thread_pool.hpp"
#include "simulator.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace lmht::netx;
using lmht::Array;
using lmht::require;

namespace {

// The arrays of one layer for B samples of N neurons.
struct Records {
    Array<int32_t, 2> counts, potential;      // [B, N]
    Array<int64_t, 1> wrapped, clipped;       // [B]
    std::optional<Array<uint8_t, 3>> spikes;  // [B, steps, N]
    std::optional<Array<int32_t, 3>> u, v;    // [B, steps, N]
    std::optional<Array<int32_t, 3>> messages;

    bool fit(size_t batch, size_t steps, size_t n) const {
        const auto per_sample = [&](const Array<int32_t, 2>& array) {
            return array.shape(0) == batch && array.shape(1) == n;
        };
        const auto per_step = [&](const auto& array) {
            return !array ||
                   (array->shape(0) == batch && array->shape(1) == steps && array->shape(2) == n);
        };
        return per_sample(counts) && per_sample(potential) && wrapped.size() == batch &&
               clipped.size() == batch && per_step(spikes) && per_step(u) && per_step(v) &&
               per_step(messages);
    }

    // Of sample `b`.
    Record of(size_t b) const {
        const auto row = [&](const Array<int32_t, 2>& array) {
            return array.data() + b * array.shape(1);
        };
        const auto plane = [&](const auto& array) {
            return array ? array->data() + b * array->shape(1) * array->shape(2) : nullptr;
        };
        return {row(counts),   row(potential), wrapped.data() + b, clipped.data() + b,
                plane(spikes), plane(u),       plane(v),           plane(messages)};
    }
};

// A pair (along y, along x) of Python.
using YX = std::pair<int, int>;

Pair pair_of(const YX& yx) {
    return {yx.first, yx.second};
}

Shape make_shape(int channels, int height, int width) {
    require(channels > 0 && height > 0 && width > 0, "a shape must be at least 1 x 1 x 1");
    return {channels, height, width};
}

// CUBA or sigma-delta neurons.
using AnyNeurons = std::variant<Neurons, SigmaDelta>;

Layer layer_of(Shape shape, const AnyNeurons& neurons, const Array<const int32_t, 1>& bias,
               bool wraps) {
    require(bias.size() == shape.size(), "a bias must have one value per neuron");
    Layer layer{shape, {}, {bias.data(), bias.data() + bias.size()}, nullptr, nullptr, {}};
    if (const auto* cuba = std::get_if<Neurons>(&neurons)) {
        layer.neurons = *cuba;
        layer.neurons.wraps = wraps;
    } else {
        layer.sigma_delta = std::get<SigmaDelta>(neurons);
    }
    return layer;
}

void add_input(Network& network, Shape shape, const AnyNeurons& neurons,
               Array<const int32_t, 1> bias) {
    require(network.layers.empty(), "an input layer must be the first layer");
    Layer layer = layer_of(shape, neurons, bias, false);
    require(!layer.sigma_delta || layer.encodes_input(),
            "an input layer has CUBA or delta neurons");
    layer.shape.packed = true;
    network.add(std::move(layer));
}

void add_convolution(Network& network, Shape shape, const AnyNeurons& neurons,
                     Array<const int32_t, 1> bias, Array<const int32_t, 4> weight, YX stride,
                     YX padding, YX dilation, int groups) {
    const Shape source = network.source();
    const Geometry geometry{pair_of(stride), pair_of(padding), pair_of(dilation), groups};
    const Kernel kernel{weight.data(),
                        int(weight.shape(0)),
                        int(weight.shape(1)),
                        {int(weight.shape(2)), int(weight.shape(3))}};
    require(groups > 0 && weight.shape(1) * groups == size_t(source.channels) &&
                kernel.outputs == shape.channels && shape.channels % groups == 0,
            "a weight does not fit its layers");
    require(geometry.stride.y > 0 && geometry.stride.x > 0, "a stride must be at least 1");
    require(geometry.dilation.y > 0 && geometry.dilation.x > 0, "a dilation must be at least 1");
    require(geometry.padding.y >= 0 && geometry.padding.x >= 0, "a padding must be at least 0");
    Layer layer = layer_of(shape, neurons, bias, true);
    layer.forward = make_convolution(source, shape, geometry, kernel);
    network.add(std::move(layer));
}

void add_dense(Network& network, int units, const AnyNeurons& neurons, Array<const int32_t, 1> bias,
               Array<const int32_t, 2> weight, std::optional<Array<const int32_t, 2>> delay,
               std::optional<Array<const int32_t, 2>> recurrent) {
    const Shape source = network.source(), shape = make_shape(units, 1, 1);
    Layer layer = layer_of(shape, neurons, bias, false);
    require(weight.shape(0) == size_t(units) && weight.shape(1) == source.size(),
            "a weight does not fit its layers");
    if (delay) {
        require(delay->shape(0) == weight.shape(0) && delay->shape(1) == weight.shape(1),
                "delays must have the shape of their weights");
        for (size_t i = 0; i < delay->size(); ++i)
            require(delay->data()[i] >= 0 && delay->data()[i] < 256,
                    "a delay must be within 0..255");
    }
    layer.forward = make_dense(source, shape, weight.data(), delay ? delay->data() : nullptr);
    if (recurrent) {
        require(recurrent->shape(0) == size_t(units) && recurrent->shape(1) == size_t(units),
                "a recurrent weight does not fit its layer");
        layer.recurrent = make_dense(shape, shape, recurrent->data(), nullptr);
    }
    network.add(std::move(layer));
}

using Spikes = std::optional<Array<const int16_t, 3>>;
using Biases = std::optional<Array<const int32_t, 2>>;

bool takes_spikes(const Layer& first) {
    return first.forward || first.encodes_input();
}

// Throws where the arguments of a run do not fit the network.
void check_run(const Network& network, const Spikes& spikes, const Biases& biases,
               const Schedule& schedule, const std::vector<const Records*>& records) {
    const size_t size = network.input.size(), steps = schedule.steps;
    require(schedule.steps >= 0 && schedule.reset_interval >= 0,
            "the steps and the reset interval must not be negative");
    require(!network.layers.empty() && records.size() == network.layers.size(),
            "there must be one record per layer");
    require(spikes.has_value() != biases.has_value() &&
                spikes.has_value() == takes_spikes(network.layers[0]),
            "a network takes biases if it begins with CUBA neurons, otherwise spikes");
    require(
        spikes ? spikes->shape(1) == steps && spikes->shape(2) == size : biases->shape(1) == size,
        "the input does not fit the network");
    const size_t batch = spikes ? spikes->shape(0) : biases->shape(0);
    for (size_t i = 0; i < records.size(); ++i)
        require(records[i]->fit(batch, steps, network.layers[i].shape.size()),
                "a record does not fit its layer");
}

void run(const Network& network, Spikes spikes, Biases biases, bool graded, int steps,
         int reset_interval, int reset_offset, const std::vector<const Records*>& records,
         int threads) {
    const Schedule schedule{steps, reset_interval, reset_offset};
    check_run(network, spikes, biases, schedule, records);
    const int batch = int(spikes ? spikes->shape(0) : biases->shape(0));
    const size_t size = network.input.size();
    const nb::gil_scoped_release released;
    lmht::ThreadPool pool(std::min(threads, batch));
    std::vector<std::unique_ptr<Simulation>> simulations(pool.threads());
    pool.run(batch, [&](int b, int thread) {
        std::unique_ptr<Simulation>& simulation = simulations[thread];
        if (!simulation) simulation = std::make_unique<Simulation>(network);
        std::vector<Record> sample;
        for (const Records* layer : records) sample.push_back(layer->of(b));
        simulation->run({spikes ? spikes->data() + size_t(b) * steps * size : nullptr,
                         biases ? biases->data() + b * size : nullptr, graded},
                        schedule, sample.data());
    });
}

}  // namespace

NB_MODULE(_core, module) {
    nb::set_leak_warnings(false);  // a thread of the caller may keep objects until the process ends
    module.doc() = "Simulation of NetX networks.";
    module.attr("STATE_ONE") = lmht::LEAK_ONE;
    module.attr("STATE_UNIT") = 1 << STATE_BITS;
    module.def("isas", &available_isas, "Names of the tiers that this CPU runs, the best first.");

    nb::class_<Shape>(module, "Shape", "Channels, rows and columns of a layer.")
        .def(
            "__init__",
            [](Shape* self, int channels, int height, int width) {
                new (self) Shape(make_shape(channels, height, width));
            },
            nb::kw_only(), "channels"_a, "height"_a, "width"_a);

    nb::class_<Neurons>(module, "Neurons", "CUBA neurons, in the unit of a state.")
        .def(
            "__init__",
            [](Neurons* self, int keep_u, int keep_v, int threshold) {
                new (self) Neurons{keep_u, keep_v, threshold, false};
            },
            nb::kw_only(), "keep_u"_a, "keep_v"_a, "threshold"_a);

    nb::enum_<SigmaDelta::Kind>(module, "Kind", "Kind of sigma-delta neurons.")
        .value("DELTA", SigmaDelta::Kind::delta)
        .value("SIGMA_DELTA", SigmaDelta::Kind::sigma_delta)
        .value("SIGMA", SigmaDelta::Kind::sigma);

    nb::class_<SigmaDelta>(module, "SigmaDelta", "Sigma-delta neurons.")
        .def(
            "__init__",
            [](SigmaDelta* self, SigmaDelta::Kind kind, int threshold, int current_bits) {
                require(current_bits > 0 && current_bits <= 32, "a current has 1 to 32 bits");
                new (self) SigmaDelta{kind, threshold, current_bits};
            },
            nb::kw_only(), "kind"_a, "threshold"_a, "current_bits"_a);

    nb::class_<Records>(module, "Records", "Where the results of a layer are written.")
        .def(
            "__init__",
            [](Records* self, Array<int32_t, 2> counts, Array<int32_t, 2> potential,
               Array<int64_t, 1> wrapped, Array<int64_t, 1> clipped,
               std::optional<Array<uint8_t, 3>> spikes, std::optional<Array<int32_t, 3>> u,
               std::optional<Array<int32_t, 3>> v, std::optional<Array<int32_t, 3>> messages) {
                new (self) Records{counts, potential, wrapped, clipped, spikes, u, v, messages};
            },
            nb::kw_only(), nb::arg("counts").noconvert(), nb::arg("potential").noconvert(),
            nb::arg("wrapped").noconvert(), nb::arg("clipped").noconvert(),
            nb::arg("spikes").noconvert() = nb::none(), nb::arg("u").noconvert() = nb::none(),
            nb::arg("v").noconvert() = nb::none(), nb::arg("messages").noconvert() = nb::none());

    nb::class_<Network>(module, "Network", "Layers in order; see simulator.hpp.")
        .def(
            "__init__",
            [](Network* self, Shape input, const std::string& isa) {
                new (self) Network(input, isa);
            },
            "input"_a, "isa"_a = "")
        .def_prop_ro("isa", [](const Network& network) { return network.kernels->name; })
        .def("add_input", &add_input, "shape"_a, "neurons"_a, nb::kw_only(), "bias"_a)
        .def("add_convolution", &add_convolution, "shape"_a, "neurons"_a, nb::kw_only(), "bias"_a,
             "weight"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a)
        .def("add_dense", &add_dense, "units"_a, "neurons"_a, nb::kw_only(), "bias"_a, "weight"_a,
             "delay"_a = nb::none(), "recurrent"_a = nb::none())
        .def("run", &run, nb::kw_only(), "spikes"_a = nb::none(), "biases"_a = nb::none(),
             "graded"_a, "steps"_a, "reset_interval"_a, "reset_offset"_a, "records"_a, "threads"_a);
}
