#include "flat.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "errors.hpp"

namespace lmht::library {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char MAGIC[] = "LMHTFLAT";
constexpr size_t HEADER = 32, CHECKED = 16, ALIGNMENT = 64, WORD = 8;
constexpr int64_t MAX_STEPS = 1 << 16, MAX_ENTRIES = 1 << 24, MAX_INPUT = 1 << 15;
constexpr size_t MAX_NAME = 255 * 4;

template <class T>
T load(const uint8_t* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

// CRC-32 as in gzip.
uint32_t crc32(const uint8_t* bytes, size_t size) {
    static const auto table = [] {
        std::array<uint32_t, 256> table;
        for (uint32_t i = 0; i < 256; ++i) {
            table[i] = i;
            for (int bit = 0; bit < 8; ++bit)
                table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
        }
        return table;
    }();
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; ++i) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 255];
    return ~crc;
}

// Whether a text is UTF-8 without control characters of ASCII.
bool is_text(const std::string& text) {
    for (size_t i = 0; i < text.size();) {
        const uint8_t lead = uint8_t(text[i++]);
        if (lead < 0x20 || lead == 0x7F) return false;
        const int more = lead < 0x80 ? 0 : lead < 0xC2 ? -1 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
        if (more < 0 || lead > 0xF4 || size_t(more) > text.size() - i) return false;
        uint32_t code = lead & (more == 0 ? 0x7F : 0x3F >> more);
        for (int k = 0; k < more; ++k) {
            const uint8_t next = uint8_t(text[i++]);
            if (next >> 6 != 2) return false;
            code = code << 6 | (next & 63);
        }
        const bool too_long = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
        if (too_long || code > 0x10FFFF || code >> 11 == 0x1B) return false;
    }
    return true;
}

// The words of the records, one after another. Texts and arrays must follow each other as the
// format states, so that no byte of the file is read twice or has no meaning.
class Reader {
public:
    Reader(const uint8_t* bytes, size_t size) : bytes_(bytes), size_(size), at_(HEADER) {
        require_file(size >= HEADER && std::memcmp(bytes, MAGIC, 8) == 0, "is not a .lmhtf file");
        const uint32_t version = load<uint32_t>(bytes + 8);
        if (version < 1 || version > FLAT_VERSION)
            throw Error(LMHT_UNSUPPORTED, "has format version " + std::to_string(version) +
                                              "; this library reads version " +
                                              std::to_string(FLAT_VERSION));
        require_file(load<uint64_t>(bytes + 16) == size, "is truncated or damaged");
        require_file(load<uint32_t>(bytes + 12) == crc32(bytes + CHECKED, size - CHECKED),
                     "the checksum does not match the content; the file is damaged or was edited");
        const uint64_t words = load<uint64_t>(bytes + 24);
        require_file(words <= (size - HEADER) / WORD, "its records are larger than the file");
        end_ = data_ = HEADER + size_t(words) * WORD;
    }

    int64_t word() { return next<int64_t>(); }
    double number() { return next<double>(); }

    int integer(int64_t min, int64_t max, const char* what) {
        const int64_t value = word();
        require_file(value >= min && value <= max, std::string(what) + " is out of range");
        return int(value);
    }

    Extent pair(int min, const char* what) {
        const int y = integer(min, INT32_MAX, what);
        return {y, integer(min, INT32_MAX, what)};
    }

    // The number of records or texts that follow; each has at least one word.
    int64_t count() { return integer(0, int64_t((end_ - at_) / WORD), "a number of records"); }

    std::string text() {
        const int64_t start = word(), size = word();
        const uint8_t* const found = place(start, size);
        std::string text(reinterpret_cast<const char*>(found), size_t(size));
        require_file(is_text(text), "a text is not printable UTF-8");
        return text;
    }

    // The values of an array whose axes follow its offset.
    template <class T, size_t N>
    const uint8_t* array(std::array<int64_t, N>& axes) {
        const int64_t start = word();
        int64_t bytes = sizeof(T);
        for (int64_t& axis : axes) {
            axis = integer(1, INT32_MAX, "the size of an array");
            bytes = product(bytes, axis);
        }
        return place(start, bytes);
    }

    std::vector<int32_t> int32s() {
        std::array<int64_t, 1> axes{};
        const uint8_t* const values = array<int32_t>(axes);
        return copied(values, size_t(axes[0]));
    }

    std::vector<int32_t> optional_int32s() {
        if (word() == 0) {
            require_file(word() == 0, "an array has no place");
            return {};
        }
        at_ -= WORD;
        return int32s();
    }

    static std::vector<int32_t> copied(const uint8_t* values, size_t count) {
        std::vector<int32_t> found(count);
        std::memcpy(found.data(), values, count * sizeof(int32_t));
        return found;
    }

    void finish() { require_file(at_ == end_ && data_ == size_, "holds more than a network"); }

private:
    template <class T>
    T next() {
        require_file(at_ + WORD <= end_, "its records end too early");
        at_ += WORD;
        return load<T>(bytes_ + at_ - WORD);
    }

    const uint8_t* place(int64_t start, int64_t size) {
        const size_t first = (data_ + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        require_file(start >= 0 && uint64_t(start) == first && first <= size_ && size >= 0 &&
                         uint64_t(size) <= size_ - first,
                     "a text or an array is not where the format places it");
        require_file(std::all_of(bytes_ + data_, bytes_ + first, [](uint8_t b) { return b == 0; }),
                     "has data between its arrays");
        data_ = first + size_t(size);
        return bytes_ + first;
    }

    const uint8_t* bytes_;
    size_t size_, at_, end_ = 0, data_ = 0;
};

// ------------------------------------------------------------------------------------------------
// records

int read_source(Reader& file, const Network& network) {
    return file.integer(0, int64_t(network.layers.size()) - 1, "the number of a layer");
}

Synapse read_synapse(Reader& file, const Network& network) {
    Synapse synapse;
    synapse.type = SynapseType(file.integer(0, int(SynapseType::Scale), "the type of a synapse"));
    synapse.source = read_source(file, network);
    if (synapse.type == SynapseType::Conv) {
        std::array<int64_t, 4> axes{};
        synapse.weight = reinterpret_cast<const int8_t*>(file.array<int8_t>(axes));
        synapse.out = axes[0];
        synapse.in = axes[1];
        synapse.kernel = {int(axes[2]), int(axes[3])};
        synapse.stride = file.pair(1, "a stride");
        synapse.padding = file.pair(0, "a padding");
        synapse.dilation = file.pair(1, "a dilation");
        synapse.groups = file.integer(1, INT32_MAX, "a number of groups");
        require_file(synapse.out % synapse.groups == 0, "groups do not divide the channels");
    } else if (synapse.type == SynapseType::Linear) {
        std::array<int64_t, 2> axes{};
        synapse.weight = reinterpret_cast<const int8_t*>(file.array<int8_t>(axes));
        synapse.out = axes[0];
        synapse.in = axes[1];
    } else {
        std::array<int64_t, 1> axes{};
        synapse.weight = reinterpret_cast<const int8_t*>(file.array<int8_t>(axes));
        synapse.out = axes[0];
    }
    synapse.exponent = file.integer(0, 16, "a weight exponent");
    return synapse;
}

void read_synapses(Reader& file, const Network& network, Layer& layer) {
    for (int64_t n = file.count(); n > 0; --n) {
        layer.synapses.push_back(read_synapse(file, network));
        layer.sources.push_back(layer.synapses.back().source);
    }
    require_file(!layer.synapses.empty(), "layer '" + layer.name + "' has no synapse");
}

void read_input(Reader& file, Layer& layer) {
    const int64_t channels = file.integer(1, INT32_MAX, "a size of the input");
    const int64_t height = file.integer(0, INT32_MAX, "a size of the input");
    const int64_t width = file.integer(0, INT32_MAX, "a size of the input");
    require_file((height == 0) == (width == 0), "a size of the input is out of range");
    layer.shape = {channels, std::max<int64_t>(height, 1), std::max<int64_t>(width, 1),
                   height == 0};
    layer.steps = file.integer(1, MAX_ENTRIES, "the number of input steps");
    layer.min = file.integer(-MAX_INPUT, MAX_INPUT, "the smallest input");
    layer.max = file.integer(-MAX_INPUT, MAX_INPUT, "the largest input");
    layer.image = file.integer(0, 1, "the kind of the input") != 0;
    require_file(layer.min <= layer.max && (layer.image || layer.min >= 0),
                 "the range of the input is not valid");
}

void read_neurons(Reader& file, const Network& network, Layer& layer) {
    read_synapses(file, network, layer);
    layer.bias = file.int32s();
    layer.threshold = file.int32s();
    std::array<int64_t, 2> axes{};
    const uint8_t* const omega = file.array<int32_t>(axes);
    layer.leak = file.integer(0, 4 * 4096, "a leak");
    layer.v0 = file.int32s();
    layer.levels = file.integer(1, INT32_MAX, "a number of levels");
    layer.substeps = file.integer(1, MAX_STEPS, "a number of sub-steps");
    layer.uniform = file.integer(0, 1, "an injection") != 0;
    layer.reset = Reset(file.integer(0, int(Reset::Zero), "a reset"));
    layer.floor = file.optional_int32s();
    layer.columns = axes[1];
    layer.steps = axes[0] * layer.substeps;
    require_file(layer.steps <= MAX_STEPS && layer.steps * layer.columns <= MAX_ENTRIES,
                 "layer '" + layer.name + "' has too many steps");
    layer.omega = Reader::copied(omega, size_t(axes[0] * axes[1]));
}

void read_pool(Reader& file, const Network& network, Layer& layer) {
    layer.sources = {read_source(file, network)};
    layer.kernel = file.pair(1, "a kernel");
    layer.stride = file.pair(1, "a stride");
    layer.padding = file.pair(0, "a padding");
}

Layer read_layer(Reader& file, const Network& network) {
    Layer layer;
    layer.type = LayerType(file.integer(0, int(LayerType::Readout), "the type of a layer"));
    layer.name = file.text();
    switch (layer.type) {
        case LayerType::Input:
            read_input(file, layer);
            break;
        case LayerType::Neurons:
            read_neurons(file, network, layer);
            break;
        case LayerType::SumPool:
        case LayerType::MaxPool:
            read_pool(file, network, layer);
            break;
        case LayerType::Flatten:
            layer.sources = {read_source(file, network)};
            break;
        case LayerType::Readout:
            read_synapses(file, network, layer);
            layer.bias = file.int32s();
            layer.scale = file.number();
            require_file(layer.scale > 0 && std::isfinite(layer.scale),
                         "the scale is not a positive number");
    }
    return layer;
}

void check_names(const Network& network) {
    std::vector<std::string> names;
    for (const Layer& layer : network.layers) names.push_back(layer.name);
    std::sort(names.begin(), names.end());
    require_file(std::adjacent_find(names.begin(), names.end()) == names.end(),
                 "two layers have one name");
    for (const std::string& name : names)
        require_file(!name.empty() && name.size() <= MAX_NAME &&
                         name.find_first_of("/\\:") == std::string::npos && name != "." &&
                         name != "..",
                     "the name of a layer is not valid");
}

}  // namespace

Network read_flat(const uint8_t* bytes, size_t size) {
    Reader file(bytes, size);
    Network network;
    network.metadata = file.text();
    network.window.by = file.integer(0, LMHT_BY_EVENTS, "a window rule");
    network.window.length = file.word();
    network.window.hop = file.integer(0, MAX_ENTRIES, "a hop");
    network.min_margin = file.number();
    require_file(network.min_margin >= 0 && std::isfinite(network.min_margin),
                 "the smallest margin is out of range");
    for (int64_t n = file.count(); n > 0; --n) network.classes.push_back(file.text());
    for (int64_t n = file.count(); n > 0; --n) network.layers.push_back(read_layer(file, network));
    file.finish();
    check_names(network);
    derive(network);
    return network;
}

}  // namespace lmht::library
