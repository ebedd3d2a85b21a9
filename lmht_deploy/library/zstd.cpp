#include "zstd.hpp"

#include <array>
#include <bit>
#include <optional>

#include "errors.hpp"

// The format of RFC 8878, and the checksum of its frames, XXH64. The names are those of the RFC.

namespace lmht::library {
namespace {

constexpr uint32_t MAGIC = 0xFD2FB528;
constexpr size_t MAX_BLOCK = size_t(1) << 17;

void require(bool holds) {
    require_file(holds, "is damaged, a packet cannot be decompressed");
}

int log2_of(uint32_t value) {
    require(value > 0);
    return 31 - std::countl_zero(value);
}

// ------------------------------------------------------------------------------------------------
// bits

// `count` bits from bit `at` on, at most 32; zeros beyond the end.
uint32_t bits_at(const Bytes& bytes, int64_t at, int count) {
    uint64_t found = 0;
    const size_t first = size_t(at / 8);
    for (size_t i = 0; i < 5 && first + i < bytes.size(); ++i)
        found |= uint64_t(bytes.data()[first + i]) << (8 * i);
    return uint32_t(found >> (at % 8) & ((uint64_t(1) << count) - 1));
}

// Read from the first bit on.
class Forward {
public:
    explicit Forward(Bytes bytes) : bytes_(bytes) {}

    uint32_t read(int count) {
        const uint32_t found = bits_at(bytes_, at_, count);
        at_ += count;
        require(at_ <= 8 * int64_t(bytes_.size()));
        return found;
    }
    void back() { --at_; }
    size_t bytes() const { return size_t(at_ + 7) / 8; }

private:
    Bytes bytes_;
    int64_t at_ = 0;
};

// Read from the last bit on, which a 1 precedes. Zeros lie before the first bit.
class Backward {
public:
    explicit Backward(Bytes bytes) : bytes_(bytes) {
        require(bytes.size() > 0);
        const size_t last = bytes.size() - 1;
        left_ = 8 * int64_t(last) + log2_of(bytes.data()[last]);
    }

    uint32_t read(int count) {
        left_ -= count;
        if (left_ >= 0) return bits_at(bytes_, left_, count);
        if (left_ <= -count) return 0;
        return bits_at(bytes_, 0, int(count + left_)) << -left_;
    }
    int64_t left() const { return left_; }  // bits; negative beyond the first

private:
    Bytes bytes_;
    int64_t left_;
};

// ------------------------------------------------------------------------------------------------
// finite state entropy

struct State {
    uint8_t symbol = 0, bits = 0;
    uint16_t base = 0;  // of the next state
};

struct Table {
    int log = 0;
    std::vector<State> states;

    bool empty() const { return states.empty(); }
    const State& operator[](uint32_t state) const { return states[state]; }
    uint32_t next(uint32_t state, Backward& bits) const {
        return states[state].base + bits.read(states[state].bits);
    }
};

// `counts`: normalized, -1 for a probability below 1.
Table table_of(const std::vector<int>& counts, int log) {
    const uint32_t size = 1u << log, step = (size >> 1) + (size >> 3) + 3;
    Table table{log, std::vector<State>(size)};
    std::vector<uint32_t> next(counts.size(), 1);
    uint32_t high = size, at = 0;
    for (size_t symbol = 0; symbol < counts.size(); ++symbol)
        if (counts[symbol] < 0) table.states[--high].symbol = uint8_t(symbol);
    for (size_t symbol = 0; symbol < counts.size(); ++symbol) {
        if (counts[symbol] > 0) next[symbol] = uint32_t(counts[symbol]);
        for (int i = 0; i < counts[symbol]; ++i) {
            table.states[at].symbol = uint8_t(symbol);
            do at = (at + step) & (size - 1);
            while (at >= high);
        }
    }
    for (State& state : table.states) {
        const uint32_t number = next[state.symbol]++;
        state.bits = uint8_t(log - log2_of(number));
        state.base = uint16_t((number << state.bits) - size);
    }
    return table;
}

// The table that `bytes` begins with, and how many bytes it takes.
Table read_table(Bytes bytes, int max_log, size_t max_symbols, size_t& taken) {
    Forward bits(bytes);
    const int log = 5 + int(bits.read(4));
    require(log <= max_log);
    std::vector<int> counts;
    for (int left = 1 << log; left > 0;) {
        const int width = log2_of(uint32_t(left + 1)) + 1;
        const uint32_t lower = (1u << (width - 1)) - 1,
                       unused = (1u << width) - 1 - uint32_t(left + 1);
        uint32_t value = bits.read(width);
        if ((value & lower) < unused) {
            bits.back();
            value &= lower;
        } else if (value > lower) {
            value -= unused;
        }
        counts.push_back(int(value) - 1);
        left -= counts.back() < 0 ? 1 : counts.back();
        require(left >= 0 && counts.size() <= max_symbols);
        if (counts.back() != 0) continue;
        for (uint32_t zeros = 3; zeros == 3;) {
            zeros = bits.read(2);
            counts.resize(counts.size() + zeros);
            require(counts.size() <= max_symbols);
        }
    }
    taken = bits.bytes();
    return table_of(counts, log);
}

// ------------------------------------------------------------------------------------------------
// literals

struct Huffman {
    int max_bits = 0;
    std::vector<State> codes;  // `base` is not used
};

std::vector<uint8_t> direct_weights(Bytes bytes, size_t count) {
    std::vector<uint8_t> weights;
    for (size_t i = 0; i < count; ++i) {
        const uint8_t both = bytes.at<uint8_t>(i / 2);
        weights.push_back(i % 2 == 0 ? both >> 4 : both & 15);
    }
    return weights;
}

// By two states in turns.
std::vector<uint8_t> compressed_weights(Bytes bytes) {
    size_t taken = 0;
    const Table table = read_table(bytes, 6, 256, taken);
    Backward bits(bytes.from(taken));
    uint32_t states[2] = {bits.read(table.log), 0};
    states[1] = bits.read(table.log);
    std::vector<uint8_t> weights;
    for (int turn = 0; bits.left() >= 0; turn ^= 1) {
        weights.push_back(table[states[turn]].symbol);
        require(weights.size() < 256);
        states[turn] = table.next(states[turn], bits);
        if (bits.left() < 0) weights.push_back(table[states[turn ^ 1]].symbol);
    }
    return weights;
}

// The weight of the last symbol makes the sum of all a power of two.
Huffman huffman_of(std::vector<uint8_t> weights) {
    require(weights.size() < 256);
    uint32_t sum = 0;
    for (const uint8_t weight : weights) {
        require(weight <= 12);
        sum += weight ? 1u << (weight - 1) : 0;
    }
    Huffman found;
    found.max_bits = log2_of(sum) + 1;
    const uint32_t left = (1u << found.max_bits) - sum;
    require(found.max_bits <= 11 && std::has_single_bit(left));
    weights.push_back(uint8_t(log2_of(left) + 1));
    for (int weight = 1; weight <= found.max_bits; ++weight)
        for (size_t symbol = 0; symbol < weights.size(); ++symbol)
            if (weights[symbol] == weight)
                found.codes.insert(found.codes.end(), size_t(1) << (weight - 1),
                                   State{uint8_t(symbol), uint8_t(found.max_bits + 1 - weight), 0});
    require(found.codes.size() == size_t(1) << found.max_bits);
    return found;
}

void append_stream(const Huffman& huffman, Bytes bytes, size_t count, std::vector<uint8_t>& to) {
    Backward bits(bytes);
    const uint32_t mask = (1u << huffman.max_bits) - 1;
    uint32_t state = bits.read(huffman.max_bits);
    for (; count > 0; --count) {
        const State& code = huffman.codes[state];
        to.push_back(code.symbol);
        state = (state << code.bits & mask) + bits.read(code.bits);
    }
    require(bits.left() == -huffman.max_bits);
}

// ------------------------------------------------------------------------------------------------
// sequences

struct Code {
    uint32_t base;
    uint8_t bits;
};

// Lengths 0, 1, 2, ..., and then ranges of 2^bits of them.
template <size_t N>
constexpr std::array<Code, N> codes(size_t single, uint32_t first, const char (&bits)[N + 1]) {
    std::array<Code, N> found{};
    for (size_t i = 0; i < N; ++i) {
        found[i] = {first, uint8_t(i < single ? 0 : bits[i] - 'a')};
        first += 1u << found[i].bits;
    }
    return found;
}

// Bits as letters, a for none.
constexpr auto LITERAL_LENGTHS = codes<36>(16, 0, "aaaaaaaaaaaaaaaabbbbccddeghijklmnopq");
constexpr auto MATCH_LENGTHS =
    codes<53>(32, 3, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbccddeefhijklmnopq");
constexpr size_t OFFSETS = 32;

// One of the three codes of a sequence.
struct Kind {
    size_t symbols;
    int max_log, log;  // of a table in the block, and of the predefined one
    std::vector<int> counts;
};

const std::array<Kind, 3>& kinds() {  // in the order of the block
    static const std::array<Kind, 3> found = {
        Kind{LITERAL_LENGTHS.size(), 9, 6, {4, 3, 2, 2, 2, 2, 2, 2, 2,  2,  2,  2,
                                            2, 1, 1, 1, 2, 2, 2, 2, 2,  2,  2,  2,
                                            2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1}},
        Kind{OFFSETS, 8, 5, {1, 1, 1, 1, 1, 1, 2, 2, 2, 1,  1,  1,  1,  1, 1,
                             1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}},
        Kind{MATCH_LENGTHS.size(), 9, 6, {1, 4, 3, 2, 2,  2,  2,  2,  2,  1,  1, 1, 1, 1,
                                          1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1, 1, 1,
                                          1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1, 1, 1,
                                          1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}}};
    return found;
}

// ------------------------------------------------------------------------------------------------
// checksum

constexpr uint64_t P1 = 0x9E3779B185EBCA87, P2 = 0xC2B2AE3D27D4EB4F, P3 = 0x165667B19E3779F9,
                   P4 = 0x85EBCA77C2B2AE63, P5 = 0x27D4EB2F165667C5;

uint64_t xxh64_round(uint64_t sum, uint64_t value) {
    return std::rotl(sum + value * P2, 31) * P1;
}

uint64_t xxh64(Bytes bytes) {
    uint64_t lanes[4] = {P1 + P2, P2, 0, 0 - P1}, hash = P5;
    size_t at = 0;
    for (; at + 32 <= bytes.size(); at += 32)
        for (size_t i = 0; i < 4; ++i)
            lanes[i] = xxh64_round(lanes[i], bytes.at<uint64_t>(at + 8 * i));
    if (at > 0) {
        hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) +
               std::rotl(lanes[3], 18);
        for (const uint64_t lane : lanes) hash = (hash ^ xxh64_round(0, lane)) * P1 + P4;
    }
    hash += bytes.size();
    for (; at + 8 <= bytes.size(); at += 8)
        hash = std::rotl(hash ^ xxh64_round(0, bytes.at<uint64_t>(at)), 27) * P1 + P4;
    for (; at + 4 <= bytes.size(); at += 4)
        hash = std::rotl(hash ^ bytes.at<uint32_t>(at) * P1, 23) * P2 + P3;
    for (; at < bytes.size(); ++at) hash = std::rotl(hash ^ bytes.data()[at] * P5, 11) * P1;
    hash = (hash ^ hash >> 33) * P2;
    hash = (hash ^ hash >> 29) * P3;
    return hash ^ hash >> 32;
}

// ------------------------------------------------------------------------------------------------
// frames

class Frame {
public:
    Frame(Bytes bytes, size_t most) : bytes_(bytes), most_(most) {}

    std::vector<uint8_t> decompress() {
        const bool has_checksum = read_header();
        for (bool last = false; !last;) {
            const uint32_t header = uint32_t(number(3));
            last = header & 1;
            block(header >> 1 & 3, header >> 3);
        }
        require(!size_ || *size_ == content_.size());
        if (has_checksum) require(uint32_t(xxh64({content_.data(), content_.size()})) == number(4));
        return std::move(content_);
    }

private:
    // The next `size` bytes of the frame, and as an integer.
    Bytes next(size_t size) {
        at_ += size;
        return bytes_.part(at_ - size, size);
    }
    uint64_t number(size_t size) {
        const Bytes found = next(size);
        uint64_t value = 0;
        for (size_t i = size; i-- > 0;) value = value << 8 | found.data()[i];
        return value;
    }

    // Whether a checksum follows the content.
    bool read_header() {
        require(number(4) == MAGIC);
        const uint32_t about = uint32_t(number(1));
        const bool single = about & 32;
        require((about & 8) == 0);
        if (!single) number(1);  // the window: the whole content is kept
        const size_t dictionary = size_t(1) << (about & 3) >> 1, flag = about >> 6;
        require(number(dictionary) == 0);
        const size_t bytes = flag ? size_t(1) << flag : single;
        if (bytes) size_ = number(bytes) + (flag == 1 ? 256 : 0);
        return about & 4;
    }

    void block(uint32_t type, size_t size) {
        require(size <= MAX_BLOCK && type < 3);
        require_room(type == 2 ? 0 : size);
        if (type == 1) {
            content_.insert(content_.end(), size, uint8_t(number(1)));
            return;
        }
        const Bytes body = next(size);
        if (type == 0)
            content_.insert(content_.end(), body.data(), body.data() + size);
        else
            sequences(body.from(literals(body)));
    }

    void require_room(size_t size) const {
        require_file(size <= most_ - content_.size(), "a packet holds too many bytes");
    }

    // Reads the literals of a block; returns how many bytes they take.
    size_t literals(const Bytes& body) {
        const uint8_t first = body.at<uint8_t>(0);
        const int type = first & 3, form = first >> 2 & 3;
        literals_.clear();
        if (type >= 2) return huffman_literals(body, type, form);
        const size_t header = form == 1 ? 2 : form == 3 ? 3 : 1;
        const size_t size = bits_at(body, form % 2 ? 4 : 3, form == 1 ? 12 : form == 3 ? 20 : 5);
        require(size <= MAX_BLOCK);
        const Bytes found = body.part(header, type == 0 ? size : 1);
        if (type == 0)
            literals_.assign(found.data(), found.data() + size);
        else
            literals_.assign(size, found.data()[0]);
        return header + found.size();
    }

    size_t huffman_literals(const Bytes& body, int type, int form) {
        const int width = form == 3 ? 18 : form == 2 ? 14 : 10;
        const size_t header = form == 3 ? 5 : form == 2 ? 4 : 3;
        const size_t size = bits_at(body, 4, width), compressed = bits_at(body, 4 + width, width);
        require(size <= MAX_BLOCK);
        Bytes streams = body.part(header, compressed);
        if (type == 2) streams = streams.from(read_huffman(streams));
        require(huffman_.max_bits > 0);
        if (form == 0) {
            append_stream(huffman_, streams, size, literals_);
            return header + compressed;
        }
        const size_t part = (size + 3) / 4;
        require(3 * part <= size);
        size_t at = 6;
        for (size_t i = 0; i < 3; ++i) {
            const size_t bytes = streams.at<uint16_t>(2 * i);
            append_stream(huffman_, streams.part(at, bytes), part, literals_);
            at += bytes;
        }
        append_stream(huffman_, streams.from(at), size - 3 * part, literals_);
        return header + compressed;
    }

    size_t read_huffman(const Bytes& bytes) {
        const size_t about = bytes.at<uint8_t>(0);
        const bool direct = about >= 128;
        const size_t taken = direct ? (about - 127 + 1) / 2 : about;
        const Bytes body = bytes.part(1, taken);
        huffman_ =
            huffman_of(direct ? direct_weights(body, about - 127) : compressed_weights(body));
        return 1 + taken;
    }

    void sequences(Bytes body) {
        const uint32_t first = body.at<uint8_t>(0);
        size_t at = first < 128 ? 1 : first < 255 ? 2 : 3;
        const uint32_t count = first < 128   ? first
                               : first < 255 ? (first - 128) * 256 + body.at<uint8_t>(1)
                                             : body.at<uint16_t>(1) + 0x7F00u;
        const size_t start = content_.size();
        size_t used = 0;
        if (count > 0) {
            at += read_tables(body.from(at));
            used = run_sequences(count, body.from(at));
        } else {
            require(at == body.size());
        }
        append_literals(used, literals_.size() - used);
        require(content_.size() - start <= MAX_BLOCK);
    }

    size_t read_tables(const Bytes& body) {
        const uint32_t modes = body.at<uint8_t>(0);
        require((modes & 3) == 0);
        size_t at = 1;
        for (size_t i = 0; i < 3; ++i) {
            const Kind& kind = kinds()[i];
            const uint32_t mode = modes >> (6 - 2 * i) & 3;
            size_t taken = 0;
            if (mode == 0) {
                tables_[i] = table_of(kind.counts, kind.log);
            } else if (mode == 1) {
                const uint8_t symbol = body.at<uint8_t>(at);
                require(symbol < kind.symbols);
                tables_[i] = {0, {State{symbol, 0, 0}}};
                taken = 1;
            } else if (mode == 2) {
                tables_[i] = read_table(body.from(at), kind.max_log, kind.symbols, taken);
            }
            require(!tables_[i].empty());
            at += taken;
        }
        return at;
    }

    // Returns how many literals they take.
    size_t run_sequences(uint32_t count, Bytes body) {
        Backward bits(body);
        uint32_t states[3];
        for (size_t i = 0; i < 3; ++i) states[i] = bits.read(tables_[i].log);
        size_t used = 0;
        for (; count > 0; --count) {
            const uint8_t offset_code = tables_[1][states[1]].symbol;
            const Code match = MATCH_LENGTHS[tables_[2][states[2]].symbol],
                       literal = LITERAL_LENGTHS[tables_[0][states[0]].symbol];
            const uint64_t offset = (uint64_t(1) << offset_code) + bits.read(offset_code);
            const size_t length = match.base + bits.read(match.bits);
            const size_t literals = literal.base + bits.read(literal.bits);
            append_literals(used, literals);
            used += literals;
            repeat(distance_of(offset, literals == 0), length);
            if (count > 1)
                for (const size_t i : {0, 2, 1}) states[i] = tables_[i].next(states[i], bits);
            require(bits.left() >= 0);
        }
        require(bits.left() == 0);
        return used;
    }

    void append_literals(size_t first, size_t count) {
        require(count <= literals_.size() - first);
        require_room(count);
        const auto from = literals_.begin() + int64_t(first);
        content_.insert(content_.end(), from, from + int64_t(count));
    }

    // Offsets 1 to 3 are the last ones again.
    uint64_t distance_of(uint64_t offset, bool without_literals) {
        uint64_t index = offset - 1 + without_literals;
        if (offset > 3) index = 3;
        const uint64_t found = offset > 3 ? offset - 3 : index < 3 ? last_[index] : last_[0] - 1;
        if (index > 1) last_[2] = last_[1];
        if (index > 0) last_[1] = last_[0];
        last_[0] = found;
        return found;
    }

    void repeat(uint64_t distance, size_t size) {
        require(distance >= 1 && distance <= content_.size());
        require_room(size);
        const size_t start = content_.size();
        content_.resize(start + size);
        for (size_t i = start; i < content_.size(); ++i) content_[i] = content_[i - distance];
    }

    Bytes bytes_;
    size_t most_, at_ = 0;
    std::optional<uint64_t> size_;  // of the content, where the header states it
    std::vector<uint8_t> content_, literals_;
    Huffman huffman_;
    std::array<Table, 3> tables_;
    uint64_t last_[3] = {1, 4, 8};  // offsets
};

}  // namespace

std::vector<uint8_t> decompress_zstd(Bytes frame, size_t most) {
    return Frame(frame, most).decompress();
}

}  // namespace lmht::library
