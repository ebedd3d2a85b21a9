// AEDAT 3.1 and 2.0; lmht_deploy/events/_aedat.py describes them.
#include <functional>

#include "errors.hpp"
#include "recording.hpp"
#include "text.hpp"

namespace lmht::library {
namespace {

constexpr size_t MAX_LINE = 4096, LONGEST_LINE = size_t(1) << 20, PIECE = size_t(1) << 14;

// ------------------------------------------------------------------------------------------------
// AEDAT 3.1

struct Named {
    const char* name;
    events::Size sensor;
};
constexpr Named INIVATION[] = {{"DVS128", {128, 128}},
                               {"DAVIS240", {180, 240}},
                               {"DAVIS128", {128, 128}},
                               {"DAVIS346", {260, 346}}};

class Aedat31 : public EventReader {
public:
    Aedat31(Bytes packets, const std::string& track)
        : packets_(packets), chosen_(track), given_(!track.empty()) {}

    bool read(Events& events) override {
        if (at_ == packets_.size()) return false;
        const Bytes head = packets_.part(at_, 28);
        const int32_t size = head.at<int32_t>(4), number = head.at<int32_t>(20);
        require_file(size > 0 && number >= 0, "is damaged or truncated");
        const Bytes body = packets_.part(at_ + 28, uint64_t(size) * uint64_t(number));
        at_ += 28 + body.size();
        if (head.at<int16_t>(0) != POLARITY) return true;
        const std::string source = std::to_string(head.at<int16_t>(2));
        if (chosen_.empty()) chosen_ = source;
        if (source == chosen_) {
            require_file(size == 8 && head.at<int32_t>(8) == 4,
                         "is damaged, an event of a pixel has 8 bytes");
            append(body, int64_t(head.at<int32_t>(12)) * (int64_t(1) << 31), events);
        } else {
            require_file(given_, "holds events of several sources; choose one by its number");
        }
        return true;
    }

private:
    static constexpr int16_t POLARITY = 1;  // kind of a packet that holds events of pixels

    // Bit 0 valid, bit 1 polarity, bits 2 to 16 y, bits 17 to 31 x; then the time.
    static void append(const Bytes& body, int64_t overflow, Events& events) {
        for (size_t at = 0; at < body.size(); at += 8) {
            const uint32_t address = body.at<uint32_t>(at);
            if (address & 1)
                events.push_back({int64_t(body.at<uint32_t>(at + 4)) + overflow,
                                  uint16_t(address >> 17), uint16_t(address >> 2 & 0x7FFF),
                                  uint8_t(address >> 1 & 1)});
        }
    }

    Bytes packets_;
    std::string chosen_;
    bool given_;
    size_t at_ = 0;
};

events::Size inivation_sensor(const std::string& source) {
    for (const Named& known : INIVATION)
        if (starts_with(upper(source), known.name)) return known.sensor;
    return {0, 0};
}

Opened open_aedat31(Bytes content, const std::string& track) {
    const std::string prefix = track.empty() ? "Source" : "Source " + track;
    std::string format = "RAW";
    events::Size sensor{0, 0};
    size_t start = 0;
    for (;;) {
        const std::string line = content.line(start, MAX_LINE);
        start += line.size();
        if (!starts_with(line, "#") || starts_with(line, "#!END-HEADER")) break;
        const auto [key, value] = partition(trimmed(line.substr(1)), ": ");
        if (key == "Format") format = value;
        if (starts_with(key, prefix) && sensor.width == 0) sensor = inivation_sensor(value);
    }
    if (format != "RAW")
        throw Error(LMHT_UNSUPPORTED,
                    "AEDAT 3.1 of the format " + shown(format) + "; only RAW can be read");
    return {sensor, std::make_unique<Aedat31>(content.from(start), track)};
}

// ------------------------------------------------------------------------------------------------
// AEDAT 2.0

// How a sensor packs an event into 32 bits.
struct Layout {
    events::Size sensor;
    bool (*has)(uint32_t address);       // whether the sensor has this address
    bool (*is_pixel)(uint32_t address);  // or it is something else than an event of a pixel
    events::Event (*decode)(events::Size sensor, uint32_t address, int64_t t);
};

uint16_t from_end(int64_t size, uint32_t position) {  // beside the sensor: wraps, and stays so
    return uint16_t(size - 1 - position);
}

// Bit 0 is set for OFF, bits 1 to 7 are x, bits 8 to 14 are y; bit 15 marks other events.
const Layout DVS128{{128, 128},
                    [](uint32_t address) { return address < 1u << 16; },
                    [](uint32_t address) { return !(address & 0x8000); },
                    [](events::Size size, uint32_t address, int64_t t) {
                        return events::Event{t, from_end(size.width, address >> 1 & 0x7F),
                                             from_end(size.height, address >> 8 & 0x7F),
                                             uint8_t(~address & 1)};
                    }};

// Bit 0 is set for ON, bits 1 to 10 are x, the higher ones y (v2e).
const Layout DVS640{
    {480, 640},
    [](uint32_t address) { return (address >> 1 & 0x3FF) < 640 && address >> 11 < 480; },
    [](uint32_t) { return true; },
    [](events::Size size, uint32_t address, int64_t t) {
        return events::Event{t, from_end(size.width, address >> 1 & 0x3FF),
                             from_end(size.height, address >> 11), uint8_t(address & 1)};
    }};

// Bit 11 is set for ON, bits 12 to 21 are x, bits 22 to 30 are y; bit 31 marks samples of a frame,
// bit 10 external events.
Layout davis(events::Size sensor) {
    return {sensor, [](uint32_t address) { return address >> 31 == 1 || (address & 0x3FF) == 0; },
            [](uint32_t address) { return !(address & (1u << 31 | 1u << 10)); },
            [](events::Size size, uint32_t address, int64_t t) {
                return events::Event{t, from_end(size.width, address >> 12 & 0x3FF),
                                     from_end(size.height, address >> 22 & 0x1FF),
                                     uint8_t(address >> 11 & 1)};
            }};
}

uint32_t big_endian(const Bytes& bytes, size_t at) {
    const uint8_t* const b = bytes.part(at, 4).data();
    return uint32_t(b[0]) << 24 | uint32_t(b[1]) << 16 | uint32_t(b[2]) << 8 | b[3];
}

class Aedat2 : public EventReader {
public:
    // `checked`: whether addresses that the sensor does not have are errors.
    Aedat2(Bytes records, const Layout& layout, bool checked)
        : records_(records), layout_(layout), checked_(checked) {
        require_file(records.size() % 8 == 0, "is truncated, it ends within an event");
    }

    bool read(Events& events) override {
        const size_t end = std::min(records_.size(), at_ + PIECE * 8);
        if (at_ == end) return false;
        for (; at_ < end; at_ += 8) {
            const uint32_t address = big_endian(records_, at_);
            const int64_t t = big_endian(records_, at_ + 4);
            if (t - latest_ < -(int64_t(1) << 31)) overflow_ += int64_t(1) << 32;
            latest_ = t;
            require_file(!checked_ || layout_.has(address),
                         "holds an address that its sensor does not have; where its header names "
                         "no chip, give the size of the sensor");
            if (layout_.is_pixel(address))
                events.push_back(layout_.decode(layout_.sensor, address, t + overflow_));
        }
        return true;
    }

private:
    Bytes records_;
    Layout layout_;
    bool checked_;
    size_t at_ = 0;
    int64_t latest_ = 0, overflow_ = 0;
};

constexpr events::Size DAVIS240{180, 240}, DAVIS346{260, 346};

bool same(events::Size a, events::Size b) {
    return a.width == b.width && a.height == b.height;
}

// The layout of a file without the name of its chip: that of the sensor whose size is given.
Layout layout_of(events::Size given) {
    if (same(given, DVS640.sensor)) return DVS640;
    if (same(given, DAVIS240) || same(given, DAVIS346)) return davis(given);
    return DVS128;
}

Opened open_aedat2(Bytes content, const Choice& choice) {
    require_file(choice.track.empty(), "is AEDAT 2.0, which holds one track of events");
    std::string chip;
    size_t start = 0;
    for (;;) {
        const std::string line = content.line(start, LONGEST_LINE);
        if (!starts_with(line, "#")) break;
        start += line.size();
        if (starts_with(line, "# AEChip:"))
            chip = trimmed(split(partition(line, ":").second, '.').back());
    }
    const std::string name = upper(chip);
    const bool is240 = starts_with(name, "DAVIS240"), is346 = starts_with(name, "DAVIS346");
    if (!is240 && !is346 && !chip.empty() && chip != "DVS128")
        throw Error(LMHT_UNSUPPORTED, "AEDAT 2.0 of the chip " + shown(chip) +
                                          "; those of DVS128, DAVIS240 and DAVIS346 can be read");
    const Layout layout = is240          ? davis(DAVIS240)
                          : is346        ? davis(DAVIS346)
                          : chip.empty() ? layout_of(choice.sensor)
                                         : DVS128;
    return {layout.sensor, std::make_unique<Aedat2>(content.from(start), layout, !is240 && !is346)};
}

}  // namespace

Opened open_aedat(Bytes content, const Choice& choice) {
    const std::string first = trimmed(content.line(0, 64));
    require_file(!first.empty(), "is empty");
    if (first == "#!AER-DAT4.0") return open_aedat4(content, choice.track);
    if (first == "#!AER-DAT3.1") return open_aedat31(content, choice.track);
    if (first == "#!AER-DAT2.0") return open_aedat2(content, choice);
    throw Error(LMHT_UNSUPPORTED,
                "starts with " + shown(first) + "; AEDAT 4, 3.1 and 2.0 can be read");
}

}  // namespace lmht::library
