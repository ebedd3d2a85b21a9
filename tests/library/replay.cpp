// Runs what `record.py` wrote through lmht.h, for sanitizers and for other processors: networks on
// every tier and by 1 to 3 threads, two engines at a time; events one by one; a stream; and damaged
// copies of every file. `replay FILE`; exits with 1 where an integer differs.
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <lmht.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Bytes = std::vector<char>;
using Integers = std::vector<int64_t>;

// A file of blocks: the number of bytes, int64, and then these.
class Reader {
public:
    explicit Reader(const char* path) : file_(path, std::ios::binary) {
        if (!file_) throw std::runtime_error(std::string("cannot open ") + path);
    }

    bool more() { return file_.peek() != EOF; }

    Bytes bytes() {
        int64_t size = 0;
        file_.read(reinterpret_cast<char*>(&size), sizeof size);
        Bytes found(static_cast<size_t>(size));
        if (!file_.read(found.data(), size)) throw std::runtime_error("the file ends too early");
        return found;
    }

    template <class T>
    std::vector<T> values() {
        const Bytes content = bytes();
        const auto* const first = reinterpret_cast<const T*>(content.data());
        return {first, first + content.size() / sizeof(T)};
    }

private:
    std::ifstream file_;
};

struct Case {
    Bytes file;
    std::vector<int32_t> windows;
    Integers logits, spikes, sops;
};

size_t values_of(const lmht::Network& network) {
    const lmht_network_info& info = network.info();
    return size_t(info.steps) * size_t(info.channels) * size_t(info.height) * size_t(info.width);
}

Integers all_windows(const int64_t* values, size_t windows, int32_t columns) {
    return {values, values + windows * size_t(columns)};
}

bool exact(const lmht::Network& network, const lmht::Result& result, const Case& expected) {
    const lmht_network_info& info = network.info();
    const size_t n = result.windows();
    return all_windows(lmht_result_logits(result.get()), n, info.classes) == expected.logits &&
           all_windows(lmht_result_spikes(result.get()), n, info.neuron_layers) ==
               expected.spikes &&
           all_windows(lmht_result_sops(result.get()), n, info.synaptic_layers) == expected.sops;
}

bool run(const lmht::Network& network, const Case& expected, int threads) {
    lmht::Engine engine(network, threads);
    lmht::Result result;
    engine.run(expected.windows.data(), expected.windows.size() / values_of(network), result,
               LMHT_TRACE);
    return exact(network, result, expected);
}

// Two engines that share the network and run at the same time.
bool run_side_by_side(const lmht::Network& network, const Case& expected, int threads) {
    bool same[2];
    std::thread other([&] { same[1] = run(network, expected, threads); });
    same[0] = run(network, expected, threads);
    other.join();
    return same[0] && same[1];
}

// The last window, event by event. Pixels of an image that are negative are no events.
bool push(const lmht::Network& network, const Case& expected) {
    const lmht_network_info& info = network.info();
    if (info.kind == LMHT_IMAGE) return true;
    const size_t values = values_of(network);
    const int32_t* const window = expected.windows.data() + expected.windows.size() - values;
    lmht::Engine engine(network);
    const int32_t width = info.width, height = info.height, channels = info.channels;
    for (int32_t i = 0; i < int32_t(values); ++i) {
        const lmht_place place{i / width / height / channels, i / width / height % channels,
                               i / width % height, i % width};
        for (int32_t k = 0; k < window[i]; ++k) engine.push(&place, 1);
    }
    lmht::Result result;
    engine.finish(result);
    const int64_t* const logits = lmht_result_logits(result.get());
    return std::equal(logits, logits + info.classes, expected.logits.end() - info.classes);
}

// Label, events, spikes and SOPs of each window of a recording.
Integers stream(const lmht::Network& network, const Bytes& recording) {
    lmht_recording* opened;
    lmht::check(
        lmht_recording_read(recording.data(), recording.size(), "x.raw", 0, 0, nullptr, &opened));
    lmht::Stream stream(network, lmht_recording_width(opened), lmht_recording_height(opened));
    std::array<lmht_event, 1000> events;
    size_t count;
    Integers found;
    const auto decide = [&] {
        for (lmht_decision d; stream.next(d);)
            found.insert(found.end(), {d.label, d.events, d.spikes, d.sops});
    };
    while (lmht::check(lmht_recording_next(opened, events.data(), events.size(), &count)) ==
           LMHT_OK) {
        stream.push(events.data(), count);
        decide();
    }
    stream.finish();
    decide();
    lmht_recording_free(opened);
    return found;
}

// ------------------------------------------------------------------------------------------------
// damaged files

uint32_t crc32(const char* bytes, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; ++i) {
        crc ^= uint8_t(bytes[i]);
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

template <class T>
void put(Bytes& file, size_t at, T value) {
    std::copy_n(reinterpret_cast<const char*>(&value), sizeof value, file.begin() + int64_t(at));
}

// Changes words of the records of a flat file, and makes its checksum right.
Bytes damaged_network(Bytes file, std::mt19937& random) {
    constexpr int64_t VALUES[] = {0, 1, -1, 2, 64, 255, 65536, INT32_MAX, int64_t(1) << 62};
    const size_t words = size_t(*reinterpret_cast<const uint64_t*>(file.data() + 24));
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
        const size_t at = 32 + 8 * (random() % words);
        const int64_t old = *reinterpret_cast<const int64_t*>(file.data() + at);
        const int64_t values[] = {VALUES[random() % std::size(VALUES)], old + 1, old - 1, old + 64};
        put(file, at, values[random() % 4]);
    }
    if (random() % 8 == 0) file.resize(file.size() - random() % 100);
    put<uint64_t>(file, 16, file.size());
    put(file, 12, crc32(file.data() + 16, file.size() - 16));
    return file;
}

// Whether a file that may be damaged is read or refused with a message.
bool survives_network(const Bytes& file) try {
    const lmht::Network network(file.data(), file.size(), "generic");
    if (values_of(network) > 100000) return true;
    lmht::Engine engine(network);
    lmht::Result result;
    const std::vector<int32_t> window(values_of(network), network.info().max_count);
    engine.run(window.data(), 1, result);
    return true;
} catch (const lmht::Error& error) {
    return error.status() != LMHT_INTERNAL_ERROR && *error.what();
}

bool survives_recording(const Bytes& file, const char* name) {
    lmht_recording* recording;
    if (lmht_recording_read(file.data(), file.size(), name, 640, 480, nullptr, &recording) < 0)
        return *lmht_error_message();
    std::array<lmht_event, 777> events;
    size_t count;
    lmht_status status;
    while ((status = lmht_recording_next(recording, events.data(), events.size(), &count)) ==
           LMHT_OK) {
    }
    lmht_recording_free(recording);
    return status != LMHT_INTERNAL_ERROR;
}

Bytes damaged(Bytes file, std::mt19937& random) {
    for (unsigned n = 1 + random() % 4; n > 0; --n)
        file[random() % file.size()] = char(1 << random() % 8);
    if (random() % 4 == 0) file.resize(random() % file.size() + 1);
    return file;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2) throw std::runtime_error("usage: replay FILE");
    if (lmht_abi_version() != LMHT_ABI_VERSION) throw std::runtime_error("the ABI differs");
    Reader file(argv[1]);
    std::mt19937 random(1);
    int networks = 0, recordings = 0, wrong = 0;
    const auto require = [&](bool holds, const char* what, int number) {
        if (!holds) std::printf("%s %d\n", what, number), ++wrong;
    };
    while (file.more()) {
        const Bytes kind = file.bytes();
        if (kind[0] == 'n') {
            const Case expected{file.bytes(), file.values<int32_t>(), file.values<int64_t>(),
                                file.values<int64_t>(), file.values<int64_t>()};
            for (const std::string& isa : lmht::isas()) {
                const lmht::Network network(expected.file.data(), expected.file.size(),
                                            isa.c_str());
                for (int threads = 1; threads <= 3; ++threads)
                    require(run_side_by_side(network, expected, threads), isa.c_str(), networks);
            }
            const lmht::Network network(expected.file.data(), expected.file.size());
            require(push(network, expected), "pushed events differ, network", networks);
            for (int i = 0; i < 30; ++i)
                require(survives_network(damaged_network(expected.file, random)), "damaged network",
                        networks);
            ++networks;
        } else if (kind[0] == 's') {
            const Bytes content = file.bytes(), recording = file.bytes();
            const lmht::Network network(content.data(), content.size());
            require(stream(network, recording) == file.values<int64_t>(), "the stream differs", 0);
        } else {
            const Bytes content = file.bytes();
            const std::string name(kind.data(), kind.size());
            for (int i = 0; i < 60; ++i)
                require(survives_recording(damaged(content, random), name.c_str()),
                        "damaged recording", recordings);
            ++recordings;
        }
    }
    std::string isas;
    for (const std::string& isa : lmht::isas()) isas += " " + isa;
    std::printf("liblmht: %d networks, tiers%s, 1 to 3 threads; %d recordings: %d runs differ\n",
                networks, isas.c_str(), recordings, wrong);
    return wrong != 0 || networks == 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "replay: %s\n", error.what());
    return 2;
}
