// Python bindings. Arguments are checked here, against the model that the engine itself holds,
// before they reach the core. Arrays are never converted: a wrong dtype is refused.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "cost_measurement.hpp"
#include "encoder.hpp"
#include "engine.hpp"
#include "incremental.hpp"
#include "native/require.hpp"
#include "path_choice.hpp"
#include "stepwise.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using lmht::require;

template <class T, int N>
using Array = nb::ndarray<T, nb::numpy, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Values = nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu>;  // of any shape
using Counts = Array<int64_t, 2>;
using Trace = Array<int32_t, 5>;
using Pair = std::pair<int, int>;

lmht::Extent extent(Pair pair) {
    return {pair.first, pair.second};
}

template <class A>
bool has_shape(const A& array, std::initializer_list<size_t> shape) {
    size_t axis = 0;
    for (const size_t length : shape)
        if (array.shape(axis++) != length) return false;
    return true;
}

// ----------------------------------------------------------------------------------------------
// models

lmht::PathPolicy policy_of(const std::string& path) {
    if (path.empty()) return lmht::PathPolicy::Cheapest;
    if (path == "list") return lmht::PathPolicy::List;
    if (path == "shared") return lmht::PathPolicy::Shared;
    require(path == "dense", "a path is 'list', 'shared' or 'dense'");
    return lmht::PathPolicy::Dense;
}

// The arguments of one synapse. It keeps the weights alive until a model has packed them.
struct Synapse {
    int source;
    Array<const int8_t, 4> weight;
    Pair stride, padding, dilation;
    int groups, exponent;
    bool counted;
};

std::vector<lmht::SynapseSpec> specs_of(const lmht::Model& model,
                                        const std::vector<Synapse>& synapses) {
    std::vector<lmht::SynapseSpec> specs;
    for (const Synapse& synapse : synapses) {
        const auto& weight = synapse.weight;
        require(synapse.source >= 0 && synapse.source < int(model.tensors.size()),
                "a synapse reads an unknown layer");
        require(synapse.groups >= 1 && weight.shape(1) * synapse.groups ==
                                           size_t(model.tensors[synapse.source].channels),
                "a weight does not fit its source");
        specs.push_back({.source = synapse.source,
                         .weight = weight.data(),
                         .channels_out = int(weight.shape(0)),
                         .kernel = {int(weight.shape(2)), int(weight.shape(3))},
                         .stride = extent(synapse.stride),
                         .padding = extent(synapse.padding),
                         .dilation = extent(synapse.dilation),
                         .groups = synapse.groups,
                         .exponent = synapse.exponent,
                         .counted = synapse.counted});
    }
    return specs;
}

lmht::Reset reset_of(const std::string& name) {
    if (name == "subtract-late") return lmht::Reset::SubtractLate;
    if (name == "zero") return lmht::Reset::Zero;
    require(name == "subtract", "an unknown reset");
    return lmht::Reset::Subtract;
}

int add_neurons(lmht::Model& model, const std::vector<Synapse>& synapses,
                Array<const int32_t, 1> bias, Array<const int32_t, 1> threshold,
                Array<const int32_t, 1> v0, Array<const int32_t, 2> omega, int substeps, int levels,
                int leak, const std::string& reset, std::optional<Array<const int32_t, 1>> floor) {
    const auto specs = specs_of(model, synapses);
    require(!specs.empty(), "a layer has no synapse");
    const size_t channels = specs[0].channels_out;
    require(bias.size() == channels && threshold.size() == channels && v0.size() == channels,
            "a neuron parameter does not fit the channels");
    require(!floor || floor->size() == channels, "a floor does not fit the channels");
    require(int(omega.shape(1)) == model.tensors[specs[0].source].steps_of(lmht::View::Blocks),
            "the T-GIM does not fit the input steps");
    return model.add_neurons(specs, {.bias = bias.data(),
                                     .threshold = threshold.data(),
                                     .v0 = v0.data(),
                                     .omega = omega.data(),
                                     .steps = int(omega.shape(0)),
                                     .substeps = substeps,
                                     .levels = levels,
                                     .leak = leak,
                                     .reset = reset_of(reset),
                                     .floor = floor ? floor->data() : nullptr});
}

void add_readout(lmht::Model& model, const std::vector<Synapse>& synapses,
                 Array<const int32_t, 1> bias, bool summable) {
    model.add_readout(specs_of(model, synapses), bias.data(), int(bias.size()), summable);
}

// Expected nanoseconds by path; none for a path that is not possible.
std::vector<std::optional<double>> path_costs(const lmht::Model& model, int layer, int synapse,
                                              double density) {
    require(layer >= 0 && layer < int(model.layers.size()) && model.layers[layer].synaptic,
            "there is no such layer with synapses");
    const auto& synapses = model.layers[layer].synaptic->synapses;
    require(synapse >= 0 && synapse < int(synapses.size()), "there is no such synapse");
    require(density >= 0, "a density is at least 0");
    const auto costs = lmht::expected_costs(model, synapses[synapse], density).nanoseconds;
    return {costs.begin(), costs.end()};
}

// Costs by name, in nanoseconds.
nb::dict costs_of(const lmht::Model& model) {
    const lmht::Costs& costs = model.costs;
    nb::dict found;
    found["binary_row"] = costs.binary_row;
    found["graded_row"] = costs.graded_row;
    found["weighted_row"] = costs.weighted_row;
    found["large_slice_factor"] = costs.large_slice_factor;
    found["dense_slot"] = costs.dense_slot;
    found["dense_pixel"] = costs.dense_pixel;
    found["tile_product"] = costs.tile_product;
    found["tile_pixel"] = costs.tile_pixel;
    found["dense_word"] = costs.dense_word;
    found["list_pixel"] = costs.list_pixel;
    found["graded_pixel"] = costs.graded_pixel;
    found["list_word"] = costs.list_word;
    found["extra_list_pixel"] = costs.extra_list_pixel;
    found["streamed_byte"] = costs.streamed_byte;
    return found;
}

void bind_model(nb::module_& m) {
    nb::class_<Synapse>(m, "Synapse", "The weights of one synapse and how it reads its source.")
        .def(
            "__init__",
            [](Synapse* self, int source, Array<const int8_t, 4> weight, Pair stride, Pair padding,
               Pair dilation, int groups, int exponent, bool counted) {
                new (self)
                    Synapse{source, weight, stride, padding, dilation, groups, exponent, counted};
            },
            nb::kw_only(), "source"_a, nb::arg("weight").noconvert(), "stride"_a = Pair(1, 1),
            "padding"_a = Pair(0, 0), "dilation"_a = Pair(1, 1), "groups"_a = 1, "exponent"_a = 0,
            "counted"_a = true)
        .def_ro("source", &Synapse::source)
        .def_ro("weight", &Synapse::weight)
        .def_ro("stride", &Synapse::stride)
        .def_ro("padding", &Synapse::padding)
        .def_ro("dilation", &Synapse::dilation)
        .def_ro("groups", &Synapse::groups)
        .def_ro("exponent", &Synapse::exponent)
        .def_ro("counted", &Synapse::counted);

    nb::class_<lmht::Model>(m, "Model", "Layers in order with their packed weights.")
        .def(
            "__init__",
            [](lmht::Model* self, const std::string& isa, const std::string& path) {
                const lmht::Kernels* const kernels = lmht::choose_kernels(isa);
                new (self) lmht::Model(kernels, lmht::measured_costs(*kernels), policy_of(path));
            },
            nb::kw_only(), "isa"_a = "", "path"_a = "")
        .def("add_input", &lmht::Model::add_input, nb::kw_only(), "channels"_a, "height"_a,
             "width"_a, "steps"_a, "min_count"_a, "max_count"_a)
        .def(
            "add_pool",
            [](lmht::Model& model, int source, Pair kernel, Pair stride, Pair padding, bool max) {
                return model.add_pool(source, extent(kernel), extent(stride), extent(padding), max);
            },
            nb::kw_only(), "source"_a, "kernel"_a, "stride"_a, "padding"_a, "max"_a)
        .def("add_flatten", &lmht::Model::add_flatten, nb::kw_only(), "source"_a)
        .def("add_neurons", &add_neurons, nb::kw_only(), "synapses"_a, nb::arg("bias").noconvert(),
             nb::arg("threshold").noconvert(), nb::arg("v0").noconvert(),
             nb::arg("omega").noconvert(), "substeps"_a, "levels"_a, "leak"_a, "reset"_a,
             nb::arg("floor").noconvert().none())
        .def("add_readout", &add_readout, nb::kw_only(), "synapses"_a, nb::arg("bias").noconvert(),
             "summable"_a)
        .def_prop_ro("costs", &costs_of)
        .def("path_costs", &path_costs, "layer"_a, "synapse"_a, "density"_a)
        .def_prop_ro("supports_incremental", &lmht::IncrementalEngine::supports)
        .def_prop_ro("isa", [](const lmht::Model& model) { return model.kernels->name; })
        .def_prop_ro("weight_bytes", &lmht::Model::weight_bytes);
}

// ----------------------------------------------------------------------------------------------
// engines

// The caller's arrays for the integers of a run. Their shapes are checked by each run, for only the
// engine knows its model.
struct Outputs {
    Counts logits, spikes, events, sops, event_sops;
    std::vector<Trace> traces;
    std::optional<Counts> profile;
};

std::vector<int32_t*> traces_of(const lmht::Model& model, size_t batch,
                                const std::vector<Trace>& traces) {
    std::vector<int32_t*> found;
    if (traces.empty()) return found;
    require(traces.size() == size_t(model.neuron_layers),
            "there is one trace for each layer of neurons");
    for (const lmht::Layer& layer : model.layers) {
        if (!layer.synaptic || layer.synaptic->is_readout()) continue;
        const lmht::Tensor& tensor = model.tensors[layer.synaptic->out];
        const Trace& trace = traces[found.size()];
        require(has_shape(trace, {batch, size_t(tensor.steps), size_t(tensor.channels),
                                  size_t(tensor.height), size_t(tensor.width)}),
                "a trace does not fit its layer");
        found.push_back(trace.data());
    }
    return found;
}

lmht::LayerProfile* profile_of(const lmht::Model& model, const std::optional<Counts>& profile) {
    static_assert(sizeof(lmht::LayerProfile) == (1 + lmht::PATHS) * sizeof(int64_t));
    if (!profile) return nullptr;
    require(has_shape(*profile, {model.layers.size(), 1 + lmht::PATHS}),
            "a profile has one row per layer: its time, and its rows by path");
    return reinterpret_cast<lmht::LayerProfile*>(profile->data());
}

lmht::RunOutputs outputs_of(const lmht::Model& model, size_t batch, const Outputs& outputs) {
    const size_t classes = model.layers.back().synaptic->channels;
    const size_t neurons = model.neuron_layers, synaptic = model.synaptic_layers;
    require(has_shape(outputs.logits, {batch, classes}), "logits do not fit the model");
    for (const Counts* counts : {&outputs.spikes, &outputs.events})
        require(has_shape(*counts, {batch, neurons}), "counts do not fit the model");
    for (const Counts* counts : {&outputs.sops, &outputs.event_sops})
        require(has_shape(*counts, {batch, synaptic}), "counts do not fit the model");
    return {.logits = outputs.logits.data(),
            .spikes = outputs.spikes.data(),
            .events = outputs.events.data(),
            .sops = outputs.sops.data(),
            .event_sops = outputs.event_sops.data(),
            .traces = traces_of(model, batch, outputs.traces),
            .profile = profile_of(model, outputs.profile)};
}

std::shared_ptr<const lmht::Model> checked(std::shared_ptr<const lmht::Model> model, int threads) {
    require(model->finished, "the model has no read-out yet");
    require(threads >= 1 && threads <= 1024, "threads must be within 1..1024");
    return model;
}

// Values beyond the range of the input would overflow the lists of active inputs.
template <class A>
void require_range(const A& counts, const lmht::Tensor& input) {
    require(lmht::lie_within(counts.data(), counts.size(), input.min, input.max),
            "a count lies outside of the input's range");
}

void run(lmht::Engine& engine, Values windows, const Outputs& outputs) {
    const lmht::Tensor& input = engine.model().tensors[0];
    require(windows.ndim() > 0 && windows.size() == windows.shape(0) * input.values(),
            "windows do not fit the model's input");
    require_range(windows, input);
    const size_t batch = windows.shape(0);
    const lmht::RunOutputs to = outputs_of(engine.model(), batch, outputs);
    nb::gil_scoped_release released;
    engine.run(windows.data(), int(batch), to);
}

void step(lmht::StepwiseEngine& self, Values window, bool first, bool last,
          const Outputs& outputs) {
    const lmht::Tensor& input = self.model().tensors[0];
    require(window.size() == input.values(), "the window does not fit the model's input");
    require_range(window, input);
    const lmht::RunOutputs to = outputs_of(self.model(), 1, outputs);
    nb::gil_scoped_release released;
    self.step(window.data(), first, last, to);
}

void require_slot(const lmht::IncrementalEngine& self, int slot) {
    require(slot >= 0 && slot < self.model().tensors[0].steps, "there is no such slot");
}

void put(lmht::IncrementalEngine& self, int slot, Array<const int32_t, 3> counts) {
    const lmht::Tensor& input = self.model().tensors[0];
    require(has_shape(counts, {size_t(input.channels), size_t(input.height), size_t(input.width)}),
            "counts do not fit the model's input");
    require_range(counts, input);
    require_slot(self, slot);
    nb::gil_scoped_release released;
    self.put(slot, counts.data());
}

void run_oldest(lmht::IncrementalEngine& self, int oldest, const Outputs& outputs) {
    require_slot(self, oldest);
    const lmht::RunOutputs to = outputs_of(self.model(), 1, outputs);
    nb::gil_scoped_release released;
    self.run(oldest, to);
}

void bind_engines(nb::module_& m) {
    nb::class_<Outputs>(m, "Outputs", "Arrays that a run writes to. B is the number of windows.")
        .def(
            "__init__",
            [](Outputs* self, Counts logits, Counts spikes, Counts events, Counts sops,
               Counts event_sops, std::vector<Trace> traces, std::optional<Counts> profile) {
                new (self)
                    Outputs{logits, spikes, events, sops, event_sops, std::move(traces), profile};
            },
            nb::kw_only(), nb::arg("logits").noconvert(), nb::arg("spikes").noconvert(),
            nb::arg("events").noconvert(), nb::arg("sops").noconvert(),
            nb::arg("event_sops").noconvert(), nb::arg("traces").noconvert() = nb::list(),
            nb::arg("profile").noconvert().none() = nb::none());

    nb::class_<lmht::Engine>(m, "Engine", "Runs windows of the model that it holds.")
        .def(
            "__init__",
            [](lmht::Engine* self, std::shared_ptr<const lmht::Model> model, int threads) {
                model = checked(std::move(model), threads);
                nb::gil_scoped_release released;
                new (self) lmht::Engine(std::move(model), threads);
            },
            "model"_a, "threads"_a)
        .def("run", &run, nb::arg("windows").noconvert(), "outputs"_a)
        .def_prop_ro("memory_plan",
                     [](const lmht::Engine& self) { return to_string(self.memory_plan()); })
        .def_prop_ro("buffer_bytes", &lmht::Engine::buffer_bytes);

    nb::class_<lmht::IncrementalEngine>(m, "IncrementalEngine",
                                        "Runs windows whose steps lie in the slots of a ring.")
        .def(
            "__init__",
            [](lmht::IncrementalEngine* self, std::shared_ptr<const lmht::Model> model,
               int threads) {
                model = checked(std::move(model), threads);
                require(lmht::IncrementalEngine::supports(*model),
                        "the first layer of this model does not read its input step by step");
                nb::gil_scoped_release released;
                new (self) lmht::IncrementalEngine(std::move(model), threads);
            },
            "model"_a, "threads"_a)
        .def("put", &put, "slot"_a, nb::arg("counts").noconvert())
        .def("run", &run_oldest, "oldest"_a, "outputs"_a)
        .def_prop_ro("buffer_bytes", &lmht::IncrementalEngine::buffer_bytes);

    nb::class_<lmht::StepwiseEngine>(m, "StepwiseEngine",
                                     "Runs windows of the model that it holds, one after another, "
                                     "each from the potentials that the one before it left.")
        .def(
            "__init__",
            [](lmht::StepwiseEngine* self, std::shared_ptr<const lmht::Model> model, int threads) {
                model = checked(std::move(model), threads);
                nb::gil_scoped_release released;
                new (self) lmht::StepwiseEngine(std::move(model), threads);
            },
            "model"_a, "threads"_a)
        .def("step", &step, nb::arg("window").noconvert(), "first"_a, "last"_a, "outputs"_a)
        .def_prop_ro("buffer_bytes", &lmht::StepwiseEngine::buffer_bytes);
}

}  // namespace

NB_MODULE(_core, m) {
    nb::set_leak_warnings(false);  // a thread of the caller may keep objects until the process ends
    m.doc() = "Core of the event-driven engine.";
    m.def("isas", &lmht::available_isas,
          "Instruction sets that this CPU has a tier for, the best first.");
    bind_model(m);
    bind_engines(m);
}
