// Python bindings: a `Model` is built layer by layer, an `Engine` runs it. Arrays are checked here,
// before the core.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <stdexcept>

#include "engine.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T, int N>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Pair = std::pair<int, int>;
// source, weight, stride, padding, dilation, groups, exponent, counted
using SynapseArguments = std::tuple<int, Array<const int8_t, 4>, Pair, Pair, Pair, int, int, bool>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

// The tier `isa`. With `path` ("list", "shared" or "dense") a copy of it that finds the other ways
// too dear wherever there is a choice.
const lmht::Kernels* choose_kernels(const std::string& isa, const std::string& path) {
    const lmht::Kernels* const kernels = lmht::choose_kernels(isa);
    if (path.empty()) return kernels;
    require(path == "list" || path == "shared" || path == "dense",
            "a path is 'list', 'shared' or 'dense'");
    static std::map<std::pair<std::string, std::string>, lmht::Kernels>
        forced;  // models keep pointers to them; the GIL guards it
    lmht::Kernels& copy = forced.try_emplace({kernels->name, path}, *kernels).first->second;
    (path == "dense" ? copy.costs.pixel : copy.costs.dense) = 1e30f;
    copy.costs.split = path == "shared" ? -1e30f : 1e30f;
    return &copy;
}

lmht::Extent extent(Pair pair) {
    return {pair.first, pair.second};
}

std::vector<lmht::SynapseSpec> specs(const lmht::Model& model,
                                     const std::vector<SynapseArguments>& synapses) {
    std::vector<lmht::SynapseSpec> found;
    for (const auto& [source, weight, stride, padding, dilation, groups, exponent, counted] :
         synapses) {
        require(source >= 0 && source < int(model.tensors.size()),
                "a synapse reads an unknown layer");
        require(groups >= 1 && weight.shape(1) * groups == size_t(model.tensors[source].channels),
                "a weight does not fit its source");
        found.push_back({source,
                         weight.data(),
                         int(weight.shape(0)),
                         {int(weight.shape(2)), int(weight.shape(3))},
                         extent(stride),
                         extent(padding),
                         extent(dilation),
                         groups,
                         exponent,
                         counted});
    }
    return found;
}

int add_neurons(lmht::Model& model, const std::vector<SynapseArguments>& synapses,
                Array<const int32_t, 1> bias, Array<const int32_t, 1> threshold,
                Array<const int32_t, 1> v0, Array<const int32_t, 2> omega, int substeps, int levels,
                int leak) {
    const auto given = specs(model, synapses);
    require(!given.empty(), "a layer has no synapse");
    const size_t channels = given[0].channels_out;
    require(bias.size() == channels && threshold.size() == channels && v0.size() == channels,
            "a neuron parameter does not fit the channels");
    require(int(omega.shape(1)) == model.tensors[given[0].source].steps_of(lmht::View::Blocks),
            "the T-GIM does not fit the input steps");
    return model.add_neurons(given, {bias.data(), threshold.data(), v0.data(), omega.data(),
                                     int(omega.shape(0)), substeps, levels, leak});
}

void add_readout(lmht::Model& model, const std::vector<SynapseArguments>& synapses,
                 Array<const int32_t, 1> bias, bool summable) {
    model.add_readout(specs(model, synapses), bias.data(), int(bias.size()), summable);
}

using Counts = Array<int64_t, 2>;

// Where a run of `batch` windows puts its integers.
lmht::RunOutputs outputs_of(const lmht::Model& model, size_t batch, Counts logits, Counts spikes,
                            Counts events, Counts sops, Counts event_sops) {
    require(logits.shape(0) == batch &&
                logits.shape(1) == size_t(model.layers.back().synaptic->channels),
            "logits do not fit the model");
    for (const auto& counts : {spikes, events})
        require(counts.shape(0) == batch && counts.shape(1) == size_t(model.neuron_layers),
                "counts do not fit the model");
    for (const auto& counts : {sops, event_sops})
        require(counts.shape(0) == batch && counts.shape(1) == size_t(model.synaptic_layers),
                "counts do not fit the model");
    return {logits.data(), spikes.data(), events.data(), sops.data(), event_sops.data(), {},
            nullptr};
}

// profile: none, or zeros [layers, 1 + PATHS]: nanoseconds and rows by path. traces: one array [B,
// steps, C, H, W] for each neuron layer, or none.
void run(lmht::Engine& engine, const lmht::Model& model, Array<const int32_t, 5> windows,
         Counts logits, Counts spikes, Counts events, Counts sops, Counts event_sops,
         std::vector<Array<int32_t, 5>> traces, std::optional<Counts> profile) {
    const lmht::Tensor& input = model.tensors[0];
    const size_t batch = windows.shape(0);
    require(windows.shape(1) == size_t(input.steps) && windows.shape(2) == size_t(input.channels) &&
                windows.shape(3) == size_t(input.height) && windows.shape(4) == size_t(input.width),
            "windows do not fit the model's input");
    lmht::RunOutputs outputs = outputs_of(model, batch, logits, spikes, events, sops, event_sops);
    require(traces.empty() || traces.size() == size_t(model.neuron_layers),
            "there is one trace for each layer of neurons");
    size_t index = 0;
    for (const lmht::Layer& layer : model.layers) {
        if (traces.empty() || !layer.synaptic || layer.synaptic->out < 0) continue;
        const lmht::Tensor& tensor = model.tensors[layer.synaptic->out];
        const auto& trace = traces[index++];
        require(
            trace.size() == batch * tensor.steps * tensor.channels * tensor.height * tensor.width,
            "a trace does not fit its layer");
        outputs.traces.push_back(trace.data());
    }
    static_assert(sizeof(lmht::LayerProfile) == (1 + lmht::PATHS) * sizeof(int64_t));
    if (profile) {
        require(profile->shape(0) == model.layers.size() && profile->shape(1) == 1 + lmht::PATHS,
                "a profile has a figure for the time of each layer and one for each path");
        outputs.profile = reinterpret_cast<lmht::LayerProfile*>(profile->data());
    }
    nb::gil_scoped_release released;
    engine.run(windows.data(), int(batch), outputs);
}

// Counts of one step, within the input's range, into a slot of the ring; see `Engine::put_step`.
void put_step(lmht::Engine& engine, const lmht::Model& model, int step,
              Array<const int32_t, 3> counts) {
    const lmht::Tensor& input = model.tensors[0];
    require(counts.shape(0) == size_t(input.channels) && counts.shape(1) == size_t(input.height) &&
                counts.shape(2) == size_t(input.width),
            "counts do not fit the model's input");
    require(engine.stepping() && step >= 0 && step < input.steps, "there is no such step");
    nb::gil_scoped_release released;
    engine.put_step(step, counts.data());
}

void run_steps(lmht::Engine& engine, const lmht::Model& model, int first, Counts logits,
               Counts spikes, Counts events, Counts sops, Counts event_sops) {
    const lmht::RunOutputs outputs = outputs_of(model, 1, logits, spikes, events, sops, event_sops);
    require(engine.stepping() && first >= 0 && first < model.tensors[0].steps,
            "there is no such step");
    nb::gil_scoped_release released;
    engine.run_steps(first, outputs);
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "Core of the event-driven engine.";
    m.def("isas", &lmht::available_isas,
          "Instruction sets that this CPU has a tier for, the best first.");

    nb::class_<lmht::Model>(m, "Model", "Layers in order with their packed weights; see model.hpp.")
        .def(
            "__init__",
            [](lmht::Model* self, const std::string& isa, const std::string& path) {
                new (self) lmht::Model(choose_kernels(isa, path));
            },
            "isa"_a, "path"_a)
        .def("add_input", &lmht::Model::add_input, "channels"_a, "height"_a, "width"_a, "steps"_a,
             "low"_a, "high"_a)
        .def(
            "add_pool",
            [](lmht::Model& model, int source, Pair kernel, Pair stride, Pair padding, bool max) {
                return model.add_pool(source, extent(kernel), extent(stride), extent(padding), max);
            },
            "source"_a, "kernel"_a, "stride"_a, "padding"_a, "max"_a)
        .def("add_flatten", &lmht::Model::add_flatten, "source"_a)
        .def("add_neurons", &add_neurons, "synapses"_a, "bias"_a, "threshold"_a, "v0"_a, "omega"_a,
             "substeps"_a, "levels"_a, "leak"_a)
        .def("add_readout", &add_readout, "synapses"_a, "bias"_a, "summable"_a)
        .def_prop_ro("by_steps", &lmht::Engine::by_steps, "Whether windows may come step by step.")
        .def_prop_ro("isa", [](const lmht::Model& model) { return model.kernels->name; })
        .def_prop_ro("weight_bytes", &lmht::Model::weight_bytes);

    nb::class_<lmht::Engine>(m, "Engine", "Buffers and threads that run a model; see engine.hpp.")
        .def(
            "__init__",
            [](lmht::Engine* self, std::shared_ptr<const lmht::Model> model, int threads) {
                require(model->finished, "the model has no read-out yet");
                require(threads >= 1 && threads <= 1024, "threads must be within 1..1024");
                nb::gil_scoped_release released;
                new (self) lmht::Engine(std::move(model), threads);
            },
            "model"_a, "threads"_a)
        .def("run", &run, "model"_a, "windows"_a, "logits"_a, "spikes"_a, "events"_a, "sops"_a,
             "event_sops"_a, "traces"_a, "profile"_a.none())
        .def(
            "begin_steps",
            [](lmht::Engine& engine, const lmht::Model& model) {
                require(lmht::Engine::by_steps(model),
                        "the first layer of this model does not read its input step by step");
                nb::gil_scoped_release released;
                engine.begin_steps();
            },
            "model"_a,
            "Before the first step is put: takes the memory, and fills the ring with silence.")
        .def("put_step", &put_step, "model"_a, "step"_a, nb::arg("counts").noconvert())
        .def("run_steps", &run_steps, "model"_a, "first"_a, "logits"_a, "spikes"_a, "events"_a,
             "sops"_a, "event_sops"_a)
        .def_prop_ro("buffer_bytes", &lmht::Engine::buffer_bytes);
}
