// Runs what `record.py` wrote, on every tier of this CPU by two engines of 1 to 3 threads at a
// time, and compares every spike: the core without Python, for ThreadSanitizer and for other
// processors (see tests/engine/aarch64). `replay FILE`; exits with 1 where an integer differs.
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engine/core/engine.hpp"

namespace {

struct Array {
    std::vector<int64_t> shape, values;

    template <class T>
    std::vector<T> as() const {
        return {values.begin(), values.end()};
    }
};

class Reader {
public:
    explicit Reader(const char* path) : file_(path, std::ios::binary) {
        if (!file_) throw std::runtime_error(std::string("cannot open ") + path);
    }

    bool more() { return file_.peek() != EOF; }

    int64_t next() {
        int64_t value;
        if (!file_.read(reinterpret_cast<char*>(&value), sizeof value))
            throw std::runtime_error("the file ends too early");
        return value;
    }

    int number() { return int(next()); }

    lmht::Extent extent() {
        const int y = number();
        return {y, number()};
    }

    Array array() {
        Array found;
        size_t size = 1;
        for (int64_t axes = next(); axes > 0; --axes)
            size *= size_t(found.shape.emplace_back(next()));
        found.values.resize(size);
        for (int64_t& value : found.values) value = next();
        return found;
    }

private:
    std::ifstream file_;
};

enum Call { Input, Pool, Flatten, Neurons, Readout, Run };

// A call to `Model`, and the arrays that its arguments point to.
struct Layer {
    Call call;
    std::vector<int64_t> numbers;
    std::vector<std::vector<int8_t>> weights;
    std::vector<lmht::SynapseSpec> synapses;
    std::vector<int32_t> bias, threshold, v0, omega, floor;
};

Layer read_layer(Reader& file) {
    Layer layer{Call(file.number()), {}, {}, {}, {}, {}, {}, {}, {}};
    const auto numbers = [&](int n) {
        for (int i = 0; i < n; ++i) layer.numbers.push_back(file.next());
    };
    const auto int32s = [&] { return file.array().as<int32_t>(); };
    if (layer.call == Input) numbers(6);
    if (layer.call == Pool) numbers(8);
    if (layer.call == Flatten) numbers(1);
    if (layer.call != Neurons && layer.call != Readout) return layer;
    for (int64_t n = file.next(); n > 0; --n) {
        const int source = file.number();
        const Array weight = file.array();
        layer.weights.push_back(weight.as<int8_t>());
        const auto stride = file.extent(), padding = file.extent(), dilation = file.extent();
        const int groups = file.number(), exponent = file.number();
        layer.synapses.push_back({source,
                                  layer.weights.back().data(),
                                  int(weight.shape[0]),
                                  {int(weight.shape[2]), int(weight.shape[3])},
                                  stride,
                                  padding,
                                  dilation,
                                  groups,
                                  exponent,
                                  file.next() != 0});
    }
    layer.bias = int32s();
    if (layer.call == Neurons) {
        layer.threshold = int32s();
        layer.v0 = int32s();
        const Array omega = file.array();
        layer.omega = omega.as<int32_t>();
        layer.numbers.push_back(omega.shape[0]);
        numbers(4);
        if (file.next() != 0) layer.floor = int32s();
    } else {
        numbers(1);
    }
    return layer;
}

void add(lmht::Model& model, const Layer& layer) {
    const std::vector<int64_t>& n = layer.numbers;
    const auto extent = [&](int at) { return lmht::Extent{int(n[at]), int(n[at + 1])}; };
    switch (layer.call) {
        case Input:
            model.add_input(int(n[0]), int(n[1]), int(n[2]), int(n[3]), n[4], n[5]);
            break;
        case Pool:
            model.add_pool(int(n[0]), extent(1), extent(3), extent(5), n[7] != 0);
            break;
        case Flatten:
            model.add_flatten(int(n[0]));
            break;
        case Neurons:
            model.add_neurons(layer.synapses, {layer.bias.data(), layer.threshold.data(),
                                               layer.v0.data(), layer.omega.data(), int(n[0]),
                                               int(n[1]), int(n[2]), int(n[3]), lmht::Reset(n[4]),
                                               layer.floor.empty() ? nullptr : layer.floor.data()});
            break;
        case Readout:
            model.add_readout(layer.synapses, layer.bias.data(), int(layer.bias.size()), n[0] != 0);
            break;
        case Run:
            throw std::runtime_error("no layer");
    }
}

struct Expected {
    Array windows, logits;
    std::vector<Array> traces;
};

// Whether a run gives the expected logits and spikes.
bool exact(lmht::Engine& engine, const lmht::Model& model, const Expected& expected) {
    const int batch = int(expected.windows.shape[0]);
    std::vector<int64_t> logits(expected.logits.values.size());
    std::vector<int64_t> spikes(size_t(batch) * model.neuron_layers), events(spikes),
        sops(size_t(batch) * model.synaptic_layers), event_sops(sops);
    std::vector<std::vector<int32_t>> k;
    for (const Array& trace : expected.traces) k.emplace_back(trace.values.size());
    lmht::RunOutputs outputs{
        logits.data(), spikes.data(), events.data(), sops.data(), event_sops.data(), {}, nullptr};
    for (auto& trace : k) outputs.traces.push_back(trace.data());
    engine.run(expected.windows.as<int32_t>().data(), batch, outputs);
    bool same = logits == expected.logits.values;
    for (size_t i = 0; i < k.size(); ++i) same = same && k[i] == expected.traces[i].as<int32_t>();
    return same;
}

struct Setting {
    int threads;
    lmht::PathPolicy policy;
};
constexpr Setting SETTINGS[] = {{1, lmht::PathPolicy::Cheapest}, {2, lmht::PathPolicy::Cheapest},
                                {3, lmht::PathPolicy::Cheapest}, {1, lmht::PathPolicy::Dense},
                                {2, lmht::PathPolicy::Shared},   {1, lmht::PathPolicy::List}};

// The same of two engines that share the weights and run at the same time.
bool exact_side_by_side(const std::vector<Layer>& layers, const std::string& isa, Setting setting,
                        const Expected& expected) {
    const auto model = std::make_shared<lmht::Model>(lmht::choose_kernels(isa), setting.policy);
    for (const Layer& layer : layers) add(*model, layer);
    lmht::Engine first(model, setting.threads), second(model, setting.threads);
    bool same[2];
    std::thread other([&] { same[1] = exact(second, *model, expected); });
    same[0] = exact(first, *model, expected);
    other.join();
    return same[0] && same[1];
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2) throw std::runtime_error("usage: replay FILE");
    Reader file(argv[1]);
    int networks = 0, wrong = 0;
    for (; file.more(); ++networks) {
        std::vector<Layer> layers;
        do layers.push_back(read_layer(file));
        while (layers.back().call != Run);
        layers.pop_back();
        Expected expected;
        expected.windows = file.array();
        expected.logits = file.array();
        for (const Layer& layer : layers)
            if (layer.call == Neurons) expected.traces.push_back(file.array());
        for (const std::string& isa : lmht::available_isas())
            for (const Setting setting : SETTINGS)
                if (!exact_side_by_side(layers, isa, setting, expected)) {
                    std::printf("network %d differs on tier %s with %d threads and policy %d\n",
                                networks, isa.c_str(), setting.threads, int(setting.policy));
                    ++wrong;
                }
    }
    std::string isas;
    for (const std::string& isa : lmht::available_isas()) isas += " " + isa;
    std::printf("%d networks, tiers%s, 1 to 3 threads, all paths: %d runs differ\n", networks,
                isas.c_str(), wrong);
    return wrong != 0 || networks == 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "replay: %s\n", error.what());
    return 2;
}
