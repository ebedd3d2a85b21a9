#include "recording.hpp"

#include <map>

#include "errors.hpp"
#include "events/core/decoders.hpp"
#include "text.hpp"

namespace lmht::library {
namespace {

constexpr size_t PIECE_WORDS = size_t(1) << 14;
constexpr size_t MAX_LINE = 4096;
constexpr int NMNIST_OVERFLOW = 240;  // row that marks an overflow of the time

const std::map<std::string, events::Size> PROPHESEE_SENSORS = {
    {"gen3", {480, 640}},   {"gen31", {480, 640}},   {"gen4", {720, 1280}},
    {"gen41", {720, 1280}}, {"imx636", {720, 1280}}, {"genx320", {320, 320}}};

const std::map<std::string, std::string> RAW_FORMATS = {{"evt2", "evt2"},    {"evt2.0", "evt2"},
                                                        {"evt21", "evt2.1"}, {"evt2.1", "evt2.1"},
                                                        {"evt3", "evt3"},    {"evt3.0", "evt3"}};

using Header = std::map<std::string, std::string>;

std::string value_of(const Header& header, const std::string& key) {
    const auto found = header.find(key);
    return found == header.end() ? "" : found->second;
}

// The '% key value' lines that a Prophesee file starts with; moves `start` behind them.
Header percent_header(const Bytes& content, size_t& start) {
    Header header;
    for (start = 0;;) {
        const std::string line = content.line(start, MAX_LINE);
        if (!starts_with(line, "% ")) return header;
        start += line.size();
        const auto [key, value] = partition(trimmed(line.substr(2)), " ");
        if (key == "end") return header;
        header[key] = value;
    }
}

events::Size sensor_of(const std::string& width, const std::string& height) {
    const int64_t w = number_of(width), h = number_of(height);
    return w > 0 && h > 0 ? events::Size{h, w} : events::Size{0, 0};
}

events::Size raw_sensor(const Header& header) {
    Header fields;
    for (const std::string& part : split(value_of(header, "format"), ';'))
        fields.insert(partition(part, "="));
    const events::Size stated = sensor_of(value_of(fields, "width"), value_of(fields, "height"));
    if (stated.width) return stated;
    const auto [width, height] = partition(value_of(header, "geometry"), "x");
    if (const events::Size size = sensor_of(width, height); size.width) return size;
    std::string words = value_of(header, "plugin_name");
    for (char& c : words)
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) c = ' ';
    for (const std::string& word : split(words, ' '))
        if (const auto found = PROPHESEE_SENSORS.find(word); found != PROPHESEE_SENSORS.end())
            return found->second;
    return {0, 0};
}

// The time (us) that the writer subtracted from all events.
int64_t first_time(const Header& header) {
    for (const char* key : {"t0", "T0"})
        if (const auto found = header.find(key); found != header.end()) {
            const int64_t time = number_of(found->second);
            require_file(time >= 0, "its header states the first time " + shown(found->second) +
                                        ", which is not a number of us");
            return time;
        }
    return 0;
}

// Words of constant size, decoded by the core.
class Decoded : public EventReader {
public:
    Decoded(Bytes words, const std::string& format, int64_t first_time, int64_t flipped = 0)
        : words_(words),
          decoder_(events::make_decoder(format)),
          first_time_(first_time),
          flipped_(flipped) {
        require_file(words.size() % decoder_->word_bytes() == 0,
                     "is truncated, it ends within an event");
    }

    bool read(Events& events) override {
        const size_t word = decoder_->word_bytes();
        const size_t size = std::min(words_.size() - at_, PIECE_WORDS * word);
        if (size == 0) {
            require_file(decoder_->complete(), "is truncated, it ends within an event");
            return false;
        }
        const size_t before = events.size();
        events.resize(before + size / word * decoder_->max_events());
        const events::Event* const end =
            decoder_->decode(words_.part(at_, size).data(), size, events.data() + before);
        events.resize(size_t(end - events.data()));
        at_ += size;
        for (size_t i = before; i < events.size(); ++i) {
            events[i].t = int64_t(uint64_t(events[i].t) + uint64_t(first_time_));
            if (flipped_) events[i].y = uint16_t(flipped_ - 1 - events[i].y);
        }
        return true;
    }

private:
    Bytes words_;
    std::unique_ptr<events::Decoder> decoder_;
    int64_t first_time_, flipped_;  // height of a sensor whose rows count from the bottom, or 0
    size_t at_ = 0;
};

// N-MNIST and N-Caltech101: x 8 bits, y 8, p 1, time 23 bits in us, big-endian.
class Nmnist : public EventReader {
public:
    explicit Nmnist(Bytes records) : records_(records) {
        require_file(records.size() % 5 == 0, "is truncated, it ends within an event");
    }

    bool read(Events& events) override {
        const size_t end = std::min(records_.size(), at_ + PIECE_WORDS * 5);
        if (at_ == end) return false;
        for (; at_ < end; at_ += 5) {
            const uint8_t* const b = records_.part(at_, 5).data();
            if (b[1] == NMNIST_OVERFLOW) {
                elapsed_ += 1 << 13;
                continue;
            }
            const int64_t t = (b[2] & 127) << 16 | b[3] << 8 | b[4];
            events.push_back({t + elapsed_, b[0], b[1], uint8_t(b[2] >> 7)});
        }
        return true;
    }

private:
    Bytes records_;
    size_t at_ = 0;
    int64_t elapsed_ = 0;
};

std::string suffix_of(const std::string& name) {
    const size_t dot = name.find_last_of("./\\");
    return dot == std::string::npos || name[dot] != '.' ? "" : lower(name.substr(dot));
}

Opened open_by_suffix(const Bytes& content, const std::string& name, const Choice& choice) {
    const std::string suffix = suffix_of(name);
    if (suffix == ".aedat4" || suffix == ".aedat") return open_aedat(content, choice);
    require_file(choice.track.empty(), "holds one track of events; no other one can be chosen");
    if (suffix == ".raw") return open_raw(content);
    if (suffix == ".dat") return open_dat(content);
    if (suffix == ".es") return open_event_stream(content);
    if (suffix == ".bin") return open_nmnist(content);
    throw Error(LMHT_UNSUPPORTED,
                "is not a recording that this library reads; it reads .aedat4, .aedat, .raw, .dat, "
                ".es and .bin");
}

}  // namespace

// ------------------------------------------------------------------------------------------------
// bytes

Bytes Bytes::part(uint64_t start, uint64_t size) const {
    require_file(start <= size_ && size <= size_ - start, "is damaged or truncated");
    return {data_ + start, size_t(size)};
}

std::string Bytes::line(size_t start, size_t most) const {
    const Bytes rest = from(start);
    const size_t size = std::min(rest.size(), most);
    const void* const end = size ? std::memchr(rest.data(), '\n', size) : nullptr;
    const size_t length = end ? size_t(static_cast<const uint8_t*>(end) - rest.data()) + 1 : size;
    return {reinterpret_cast<const char*>(rest.data()), length};
}

bool Bytes::starts_with(const std::string& text) const {
    return size_ >= text.size() && std::memcmp(data_, text.data(), text.size()) == 0;
}

// ------------------------------------------------------------------------------------------------
// formats

Opened open_raw(Bytes content) {
    size_t start;
    const Header header = percent_header(content, start);
    const auto [stated, rest] = partition(value_of(header, "format"), ";");
    const std::string named = stated.empty() ? "EVT" + value_of(header, "evt") : stated;
    const auto format = RAW_FORMATS.find(lower(named));
    if (format == RAW_FORMATS.end())
        throw Error(LMHT_UNSUPPORTED,
                    (named == "EVT" ? std::string("its header names no format")
                                    : "its header names the format " + shown(named)) +
                        "; EVT2, EVT2.1 and EVT3 can be read");
    std::string decoder = format->second;
    if (decoder == "evt2.1" && rest.find("endianness=legacy") != std::string::npos)
        decoder = "evt2.1-legacy";
    return {raw_sensor(header),
            std::make_unique<Decoded>(content.from(start), decoder, first_time(header))};
}

Opened open_dat(Bytes content) {
    size_t start;
    const Header header = percent_header(content, start);
    const uint16_t kind = content.at<uint16_t>(start);
    if (kind != 0x0800 && kind != 0x080C)
        throw Error(LMHT_UNSUPPORTED, "holds events of another type than \"cd\" and \"2d\"");
    return {sensor_of(value_of(header, "Width"), value_of(header, "Height")),
            std::make_unique<Decoded>(content.from(start + 2), "dat", first_time(header))};
}

Opened open_event_stream(Bytes content) {
    require_file(content.size() >= 20 && content.starts_with("Event Stream"),
                 "is damaged or not an Event Stream file");
    const uint8_t version = content.at<uint8_t>(12), type = content.at<uint8_t>(15);
    if (version != 2 || (type != 1 && type != 2))
        throw Error(LMHT_UNSUPPORTED, "is not Event Stream 2 of DVS or ATIS events");
    const events::Size sensor{content.at<uint16_t>(18), content.at<uint16_t>(16)};
    require_file(sensor.width > 0 && sensor.height > 0,
                 "is damaged, it states a sensor without pixels");
    return {sensor, std::make_unique<Decoded>(content.from(20), type == 1 ? "es-dvs" : "es-atis", 0,
                                              sensor.height)};
}

Opened open_nmnist(Bytes content) {
    return {{0, 0}, std::make_unique<Nmnist>(content)};
}

Opened open_recording(Bytes content, const std::string& name, const Choice& choice) {
    Opened opened = open_by_suffix(content, name, choice);
    const events::Size given = choice.sensor, own = opened.sensor;
    require_file(!given.width || (given.width >= own.width && given.height >= own.height),
                 "its sensor is larger than the given size");
    if (given.width) opened.sensor = given;
    require_file(opened.sensor.width > 0 && opened.sensor.height > 0,
                 "does not say how large its sensor is; give the size of the sensor");
    require_file(opened.sensor.width <= 65536 && opened.sensor.height <= 65536,
                 "states a sensor that is too large");
    return opened;
}

}  // namespace lmht::library
