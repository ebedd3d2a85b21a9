#include "decoders.hpp"

#include <bit>
#include <cstring>
#include <stdexcept>

namespace lmht::events {
namespace {

template <class Word>
Word load(const uint8_t* bytes) {
    Word word;
    std::memcpy(&word, bytes, sizeof word);  // little-endian, as every format here
    return word;
}

static_assert(std::endian::native == std::endian::little);

// The time base of Prophesee's formats: a counter of `bits` bits in units of 2^shift us, sent in
// words of its own. There is no time before the first of them.
//
// The counter wraps. A fall by more than half the range is a wrap, a smaller one is kept as a time
// that goes back. Cameras repeat the word at every step of the counter, and Prophesee's sample
// decoders take a fall by all but 10 steps for a wrap, since a word may be lost. Other writers send
// the word only where it changes: a wrap is then any fall that is too large for a time that goes
// back.
class TimeBase {
public:
    TimeBase(int bits, int shift) : range_(int64_t(1) << bits), shift_(shift) {}

    bool known() const { return high_ >= 0; }
    int64_t time() const { return (loops_ * range_ + high_) << shift_; }

    void set(int64_t high) {
        if (2 * (high_ - high) > range_) ++loops_;
        high_ = high;
    }

private:
    int64_t range_;
    int shift_;
    int64_t high_ = -1, loops_ = 0;
};

// EVT2: words of 32 bits.
//
//     31  28 27      22 21       11 10        0
//     [type ][time low ][x         ][y         ]    type 0: OFF, 1: ON
//     [8    ][time high, 28 bits               ]    in units of 64 us
class Evt2 : public Decoder {
public:
    size_t word_bytes() const override { return 4; }
    size_t max_events() const override { return 1; }

    Event* decode(const uint8_t* bytes, size_t size, Event* events) override {
        for (size_t at = 0; at < size; at += 4) {
            const uint32_t word = load<uint32_t>(bytes + at);
            const uint32_t type = word >> 28;
            if (type == 8) {
                base_.set(word & 0x0FFFFFFF);
            } else if (type <= 1 && base_.known()) {
                *events++ = {base_.time() + (word >> 22 & 63), uint16_t(word >> 11 & 2047),
                             uint16_t(word & 2047), uint8_t(type)};
            }
        }
        return events;
    }

private:
    TimeBase base_{28, 6};
};

// EVT2.1: words of 64 bits, each for up to 32 events of one row.
//
//     63  60 59      54 53       43 42        32 31            0
//     [type ][time low ][x         ][y          ][mask         ]    bit i: an event at x + i
//     [8    ][time high, 28 bits                ][             ]    in units of 64 us
//
// The legacy form stores the two halves of a word in the other order.
class Evt21 : public Decoder {
public:
    explicit Evt21(bool legacy) : legacy_(legacy) {}

    size_t word_bytes() const override { return 8; }
    size_t max_events() const override { return 32; }

    Event* decode(const uint8_t* bytes, size_t size, Event* events) override {
        for (size_t at = 0; at < size; at += 8) {
            const uint64_t stored = load<uint64_t>(bytes + at);
            const uint64_t word = legacy_ ? std::rotl(stored, 32) : stored;
            const uint32_t type = uint32_t(word >> 60);
            if (type == 8) {
                base_.set(int64_t(word >> 32 & 0x0FFFFFFF));
            } else if (type <= 1 && base_.known()) {
                const int64_t t = base_.time() + int64_t(word >> 54 & 63);
                const uint32_t x = word >> 43 & 2047, y = word >> 32 & 2047;
                for (uint32_t mask = uint32_t(word); mask; mask &= mask - 1)
                    *events++ = {t, uint16_t(x + std::countr_zero(mask)), uint16_t(y),
                                 uint8_t(type)};
            }
        }
        return events;
    }

private:
    bool legacy_;
    TimeBase base_{28, 6};
};

// EVT3: words of 16 bits that change one thing each.
//
//     15  12 11 10     0
//     [0    ][.][y     ]    row
//     [2    ][p][x     ]    one event
//     [3    ][p][x     ]    base of the vectors that follow
//     [4    ][mask, 12 ]    bit i: an event at the base + i; the base moves on by 12
//     [5    ][....][m,8]    the same for 8
//     [6    ][time low ]    us
//     [8    ][time high]    in units of 4096 us
class Evt3 : public Decoder {
public:
    size_t word_bytes() const override { return 2; }
    size_t max_events() const override { return 12; }

    Event* decode(const uint8_t* bytes, size_t size, Event* events) override {
        for (size_t at = 0; at < size; at += 2) {
            const uint32_t word = load<uint16_t>(bytes + at);
            const uint32_t value = word & 4095, address = word & 2047;
            const uint32_t type = word >> 12;
            if (type == 8) {
                base_.set(value);
                t_ = base_.time();
            } else if (base_.known()) {
                events = decode(type, value, address, events);
            }
        }
        return events;
    }

private:
    Event* decode(uint32_t type, uint32_t value, uint32_t address, Event* events) {
        switch (type) {
            case 0:
                y_ = uint16_t(address);
                break;
            case 2:
                *events++ = {t_, uint16_t(address), y_, uint8_t(value >> 11)};
                break;
            case 3:
                x_ = uint16_t(address);
                p_ = uint8_t(value >> 11);
                break;
            case 4:
                return vector(value, 12, events);
            case 5:
                return vector(value & 255, 8, events);
            case 6:
                t_ = base_.time() + value;
                break;
            default:  // triggers and what cameras say beside events
                break;
        }
        return events;
    }

    Event* vector(uint32_t mask, int width, Event* events) {
        for (; mask; mask &= mask - 1)
            *events++ = {t_, uint16_t(x_ + std::countr_zero(mask)), y_, p_};
        x_ = uint16_t(x_ + width);
        return events;
    }

    TimeBase base_{12, 12};
    int64_t t_ = 0;
    uint16_t x_ = 0, y_ = 0;
    uint8_t p_ = 0;
};

// DAT, types "cd" and "2d": a time of 32 bits in us, then an address.
//
//     31  28 27       14 13        0
//     [p    ][y         ][x        ]    p: 0 OFF, else ON
//
// A fall of the time by more than half its range is a wrap of the counter.
class Dat : public Decoder {
public:
    size_t word_bytes() const override { return 8; }
    size_t max_events() const override { return 1; }

    Event* decode(const uint8_t* bytes, size_t size, Event* events) override {
        for (size_t at = 0; at < size; at += 8) {
            const int64_t t = load<uint32_t>(bytes + at);
            const uint32_t address = load<uint32_t>(bytes + at + 4);
            if (latest_ - t > int64_t(1) << 31) overflow_ += int64_t(1) << 32;
            latest_ = t;
            *events++ = {overflow_ + t, uint16_t(address & 16383), uint16_t(address >> 14 & 16383),
                         uint8_t(address >> 28 != 0)};
        }
        return events;
    }

private:
    int64_t latest_ = 0, overflow_ = 0;
};

// Event Stream 2, DVS and ATIS events: one byte with the time since the event before, then x and y.
//
//     DVS     7      1 0               ATIS    7     2 1 0
//             [time   ][p]                     [time  ][p][exposure]
//             127, .: 127 us pass              63, n: 63 n us pass
//
// y counts from the bottom; the caller converts it. Measurements of exposure are no changes of
// brightness: they are skipped.
class EventStream : public Decoder {
public:
    explicit EventStream(bool atis) : atis_(atis) {}

    size_t word_bytes() const override { return 1; }
    size_t max_events() const override { return 1; }
    bool complete() const override { return state_ == 0; }

    Event* decode(const uint8_t* bytes, size_t size, Event* events) override {
        for (size_t at = 0; at < size; ++at) {
            const uint8_t byte = bytes[at];
            if (state_ == 0) {
                begin(byte);
                continue;
            }
            address_ |= uint32_t(byte) << (8 * (state_ - 1));
            if (state_++ < 4) continue;
            if (!exposure_) *events++ = {t_, uint16_t(address_), uint16_t(address_ >> 16), p_};
            state_ = 0;
        }
        return events;
    }

private:
    void begin(uint8_t byte) {
        const int low_bits = atis_ ? 2 : 1;
        const int most = atis_ ? 63 : 127;
        const int time = byte >> low_bits;
        if (time == most) {
            t_ += most * (atis_ ? byte & 3 : 1);
            return;
        }
        t_ += time;
        p_ = atis_ ? byte >> 1 & 1 : byte & 1;
        exposure_ = atis_ && (byte & 1);
        address_ = 0;
        state_ = 1;
    }

    bool atis_;
    int64_t t_ = 0;
    uint32_t address_ = 0;
    int state_ = 0;  // bytes of the event that were read
    uint8_t p_ = 0;
    bool exposure_ = false;
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(const std::string& format) {
    if (format == "evt2") return std::make_unique<Evt2>();
    if (format == "evt2.1") return std::make_unique<Evt21>(false);
    if (format == "evt2.1-legacy") return std::make_unique<Evt21>(true);
    if (format == "evt3") return std::make_unique<Evt3>();
    if (format == "dat") return std::make_unique<Dat>();
    if (format == "es-dvs") return std::make_unique<EventStream>(false);
    if (format == "es-atis") return std::make_unique<EventStream>(true);
    throw std::invalid_argument("unknown event format '" + format + "'");
}

}  // namespace lmht::events
