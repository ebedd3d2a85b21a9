// Decoders of event files: bytes in, events out, piece by piece.
//
// A decoder keeps what the format carries from word to word (the time base, the row), so that a
// file is decoded in pieces of constant size. It writes events as the file states them: times may
// go back and addresses may lie outside of the sensor. The caller validates them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "event.hpp"

namespace lmht::events {

class Decoder {
public:
    virtual ~Decoder() = default;

    // Bytes of one word: pieces must hold whole words. 1 where events differ in size.
    virtual size_t word_bytes() const = 0;
    // The most events that one word can stand for.
    virtual size_t max_events() const = 0;
    // Decodes `size` bytes; writes the events to `events` and returns their end.
    virtual Event* decode(const uint8_t* bytes, size_t size, Event* events) = 0;
    // Whether the bytes so far end between two events.
    virtual bool complete() const { return true; }
};

// The decoder of `format`: "evt2", "evt2.1", "evt2.1-legacy", "evt3", "dat", "es-dvs" or "es-atis".
// Throws std::invalid_argument for another name.
std::unique_ptr<Decoder> make_decoder(const std::string& format);

}  // namespace lmht::events
