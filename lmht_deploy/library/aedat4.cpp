// AEDAT 4; lmht_deploy/events/_aedat4.py describes the layout.
#include "errors.hpp"
#include "lz4.hpp"
#include "recording.hpp"
#include "text.hpp"
#include "zstd.hpp"

namespace lmht::library {
namespace {

constexpr size_t MAGIC_BYTES = 14;  // "#!AER-DAT4.0\r\n"
constexpr uint32_t MAX_HEADER = 1u << 24;
constexpr size_t MAX_PACKET = size_t(1) << 28, EXPANSION_FLOOR = size_t(1) << 24,
                 MAX_EXPANSION = 2000;
constexpr size_t EVENT_BYTES = 16;
enum Compression { None, Lz4, Lz4High, Zstd, ZstdHigh };

// The root table of a FlatBuffer that begins with its size.
class Table {
public:
    explicit Table(Bytes content)
        : content_(content),
          at_(4 + uint64_t(content.at<uint32_t>(4))),
          fields_(at_ - uint64_t(int64_t(content.at<int32_t>(at_)))),
          size_(content.at<uint16_t>(fields_)) {}

    template <class T>
    T scalar(size_t index, T otherwise) const {
        const uint64_t at = field(index);
        return at ? content_.at<T>(at) : otherwise;
    }

    // The items of a vector, each of `item_bytes`.
    Bytes vector(size_t index, size_t item_bytes) const {
        uint64_t at = field(index);
        if (at == 0) return content_.part(0, 0);
        at += content_.at<uint32_t>(at);
        return content_.part(at + 4, uint64_t(content_.at<uint32_t>(at)) * item_bytes);
    }

private:
    uint64_t field(size_t index) const {  // 0 where it has its default value
        const size_t place = 4 + 2 * index;
        if (place + 2 > size_) return 0;
        const size_t offset = content_.at<uint16_t>(fields_ + place);
        return offset ? at_ + offset : 0;
    }

    Bytes content_;
    uint64_t at_, fields_, size_;
};

// ------------------------------------------------------------------------------------------------
// tracks

struct Track {
    int64_t number;
    std::string kind, source, module;
    std::string width, height;

    std::string name() const {
        return !source.empty() ? source : !module.empty() ? module : "unnamed";
    }
};

std::string unescaped(std::string text) {
    const std::pair<const char*, const char*> entities[] = {
        {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}, {"&amp;", "&"}};
    for (const auto& [entity, character] : entities)
        for (size_t at = 0; (at = text.find(entity, at)) != std::string::npos; ++at)
            text.replace(at, std::string(entity).size(), character);
    return text;
}

// The value of an attribute in the text of a tag.
std::string attribute(const std::string& tag, const std::string& key) {
    for (const char* quote : {"\"", "'"}) {
        const size_t at = tag.find(" " + key + "=" + quote);
        if (at == std::string::npos) continue;
        return unescaped(partition(tag.substr(at + key.size() + 3), quote).first);
    }
    return "";
}

void set(Track& track, const std::string& key, const std::string& value) {
    if (key == "typeIdentifier") track.kind = value;
    if (key == "source") track.source = value;
    if (key == "originalModuleName") track.module = value;
    if (key == "sizeX") track.width = value;
    if (key == "sizeY") track.height = value;
}

// The tracks of a header, <node name="0"><attr key="typeIdentifier">EVTS</attr>...</node>. An
// attribute belongs to all nodes around it.
std::vector<Track> parse_tracks(const std::string& xml) {
    std::vector<Track> found;
    std::vector<int> open;  // index of each open node in `found`; -1 for one that is no track
    for (size_t at = 0; (at = xml.find('<', at)) != std::string::npos;) {
        const size_t end = xml.find('>', at);
        require_file(end != std::string::npos, "is damaged, its header is not XML");
        const std::string tag = xml.substr(at + 1, end - at - 1);
        at = end + 1;
        const bool closed = !tag.empty() && tag.back() == '/';
        if (tag == "/node") {
            require_file(!open.empty(), "is damaged, its header is not XML");
            open.pop_back();
        } else if (starts_with(tag, "node") && !closed) {
            const int64_t number = number_of(attribute(tag, "name"));
            open.push_back(number < 0 ? -1 : int(found.size()));
            if (number >= 0) found.push_back({number, "", "", "", "", ""});
        } else if (starts_with(tag, "attr ") && !closed) {
            const std::string text = unescaped(xml.substr(at, xml.find('<', at) - at));
            for (const int node : open)
                if (node >= 0) set(found[size_t(node)], attribute(tag, "key"), text);
        }
    }
    require_file(open.empty(), "is damaged, its header is not XML");
    return found;
}

Track event_track(const std::vector<Track>& tracks, const std::string& chosen) {
    std::vector<Track> found;
    size_t number = 0;
    for (const Track& track : tracks) {
        if (track.kind != "EVTS") continue;
        ++number;
        if (chosen.empty() || chosen == std::to_string(track.number) || chosen == track.name())
            found.push_back(track);
    }
    require_file(number > 0, "holds no track of events");
    require_file(!found.empty(), "holds no track of events " + shown(chosen));
    require_file(found.size() == 1,
                 "holds " + std::to_string(number) + " tracks of events; choose one by its number");
    return found[0];
}

// ------------------------------------------------------------------------------------------------
// packets

class Aedat4 : public EventReader {
public:
    Aedat4(Bytes packets, int64_t track, int32_t compression)
        : packets_(packets), track_(track), compression_(compression) {}

    bool read(Events& events) override {
        if (at_ == packets_.size()) return false;
        const int32_t number = packets_.at<int32_t>(at_), size = packets_.at<int32_t>(at_ + 4);
        require_file(size >= 0, "is damaged or truncated");
        const Bytes body = packets_.part(at_ + 8, size_t(size));
        at_ += 8 + body.size();
        if (number != track_) return true;
        if (compression_ == None) {
            append(body, events);
            return true;
        }
        const size_t most =
            std::min(MAX_PACKET, std::max(EXPANSION_FLOOR, MAX_EXPANSION * body.size()));
        const std::vector<uint8_t> content =
            compression_ < Zstd ? decompress_lz4(body, most) : decompress_zstd(body, most);
        append({content.data(), content.size()}, events);
        return true;
    }

private:
    static void append(const Bytes& packet, Events& events) {
        require_file(packet.part(8, 4).starts_with("EVTS"),
                     "is damaged, a packet does not hold events");
        const Bytes structs = Table(packet).vector(0, EVENT_BYTES);
        for (size_t at = 0; at < structs.size(); at += EVENT_BYTES)
            events.push_back({structs.at<int64_t>(at), structs.at<uint16_t>(at + 8),
                              structs.at<uint16_t>(at + 10), structs.at<uint8_t>(at + 12)});
    }

    Bytes packets_;
    int64_t track_;
    int32_t compression_;
    size_t at_ = 0;
};

events::Size size_of(const Track& track) {
    const int64_t width = number_of(track.width), height = number_of(track.height);
    return width >= 0 && height >= 0 ? events::Size{height, width} : events::Size{0, 0};
}

}  // namespace

Opened open_aedat4(Bytes content, const std::string& chosen) {
    const uint32_t length = content.at<uint32_t>(MAGIC_BYTES);
    require_file(length <= MAX_HEADER, "is damaged, its header is too large");
    const Bytes header = content.part(MAGIC_BYTES, 4 + size_t(length));
    const Table table(header);
    const int32_t compression = table.scalar<int32_t>(0, None);
    require_file(compression >= None && compression <= ZstdHigh,
                 "is damaged, its compression is unknown");
    const size_t start = MAGIC_BYTES + header.size();
    const int64_t position = table.scalar<int64_t>(1, -1);
    const uint64_t end = position < 0 ? content.size() : uint64_t(position);
    require_file(start <= end && end <= content.size(),
                 "is damaged, its table lies outside of the file");
    const Bytes text = table.vector(2, 1);
    const Track track = event_track(
        parse_tracks({reinterpret_cast<const char*>(text.data()), text.size()}), chosen);
    return {size_of(track),
            std::make_unique<Aedat4>(content.part(start, end - start), track.number, compression)};
}

}  // namespace lmht::library
