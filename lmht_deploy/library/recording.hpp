// Files of events, read piece by piece; lmht_deploy/events/recordings.py reads the same formats.
#pragma once
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "events/core/event.hpp"

namespace lmht::library {

// The content of a file. Every access is checked.
class Bytes {
public:
    Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

    size_t size() const { return size_; }
    // The part from `start` on. Throws Error where the file is too short.
    Bytes from(size_t start) const { return part(start, size_ - std::min(start, size_)); }
    Bytes part(uint64_t start, uint64_t size) const;
    // The part up to and with the next newline, at most `most` bytes.
    std::string line(size_t start, size_t most) const;
    bool starts_with(const std::string& text) const;

    template <class T>
    T at(uint64_t position) const;  // little-endian
    const uint8_t* data() const { return data_; }

private:
    const uint8_t* data_;
    size_t size_;
};

template <class T>
T Bytes::at(uint64_t position) const {
    T value;
    std::memcpy(&value, part(position, sizeof value).data(), sizeof value);
    return value;
}

using Events = std::vector<events::Event>;

// Reads the events of a file piece by piece.
class EventReader {
public:
    virtual ~EventReader() = default;
    // Appends the events of the next piece, which may have none. False at the end of the file.
    virtual bool read(Events& events) = 0;
};

// What the caller chooses: a size of 0 x 0 and an empty track are no choice.
struct Choice {
    events::Size sensor{0, 0};
    std::string track;
};

struct Opened {
    events::Size sensor{0, 0};  // 0 x 0 where the file does not state it
    std::unique_ptr<EventReader> reader;
};

// Opens the file `name` with this content. Throws Error where its format is not known, it is
// damaged, or the size of its sensor is neither stated nor chosen.
Opened open_recording(Bytes content, const std::string& name, const Choice& choice);

// The readers of each format.
Opened open_raw(Bytes content);
Opened open_dat(Bytes content);
Opened open_event_stream(Bytes content);
Opened open_nmnist(Bytes content);
Opened open_aedat(Bytes content, const Choice& choice);
Opened open_aedat4(Bytes content, const std::string& track);

}  // namespace lmht::library
