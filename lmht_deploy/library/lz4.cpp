#include "lz4.hpp"

#include <bit>

#include "errors.hpp"

// The frame and block formats of LZ4 (https://github.com/lz4/lz4/tree/dev/doc), and the checksum of
// frames, xxHash of 32 bits.
namespace lmht::library {
namespace {

constexpr uint32_t MAGIC = 0x184D2204;
constexpr uint32_t UNCOMPRESSED = 1u << 31;
constexpr size_t MIN_MATCH = 4;
// A block ends with literals: the last match begins and ends so many bytes before its end.
constexpr size_t LAST_MATCH = 12, LAST_LITERALS = 5;

constexpr uint32_t P1 = 2654435761u, P2 = 2246822519u, P3 = 3266489917u, P4 = 668265263u,
                   P5 = 374761393u;

uint32_t xxh32(const Bytes& bytes) {
    size_t at = 0;
    uint32_t hash = P5;
    if (bytes.size() >= 16) {
        uint32_t lanes[] = {P1 + P2, P2, 0, 0u - P1};
        for (; at + 16 <= bytes.size(); at += 16)
            for (size_t i = 0; i < 4; ++i)
                lanes[i] = std::rotl(lanes[i] + bytes.at<uint32_t>(at + 4 * i) * P2, 13) * P1;
        hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) +
               std::rotl(lanes[3], 18);
    }
    hash += uint32_t(bytes.size());
    for (; at + 4 <= bytes.size(); at += 4)
        hash = std::rotl(hash + bytes.at<uint32_t>(at) * P3, 17) * P4;
    for (; at < bytes.size(); ++at) hash = std::rotl(hash + bytes.at<uint8_t>(at) * P5, 11) * P1;
    hash = (hash ^ hash >> 15) * P2;
    hash = (hash ^ hash >> 13) * P3;
    return hash ^ hash >> 16;
}

class Frame {
public:
    Frame(Bytes bytes, size_t most) : bytes_(bytes), most_(most) {}

    std::vector<uint8_t> decompress() {
        require(next<uint32_t>() == MAGIC);
        const uint8_t flags = next<uint8_t>(), sizes = next<uint8_t>();
        require(flags >> 6 == 1 && !(flags & 3));  // version 1, without a dictionary
        require(sizes >> 6 == 1 && !(sizes & 15));
        block_size_ = size_t(1) << (8 + 2 * (sizes >> 4));  // 64 KiB to 4 MiB
        independent_ = flags & 32;
        const uint64_t size = flags & 8 ? next<uint64_t>() : 0;
        const Bytes descriptor = bytes_.part(4, at_ - 4);
        require(next<uint8_t>() == uint8_t(xxh32(descriptor) >> 8));
        while (read_block(flags & 16)) {
        }
        require(!(flags & 8) || size == content_.size());
        if (flags & 4) require(next<uint32_t>() == xxh32({content_.data(), content_.size()}));
        return std::move(content_);
    }

private:
    static void require(bool holds) {
        require_file(holds, "is damaged, a packet cannot be decompressed");
    }

    template <class T>
    T next() {
        const T value = bytes_.at<T>(at_);
        at_ += sizeof value;
        return value;
    }

    bool read_block(bool has_checksum) {
        const uint32_t header = next<uint32_t>();
        if (header == 0) return false;
        const Bytes block = bytes_.part(at_, header & ~UNCOMPRESSED);
        at_ += block.size();
        if (has_checksum) require(next<uint32_t>() == xxh32(block));
        require(block.size() <= block_size_);
        block_start_ = content_.size();
        if (header & UNCOMPRESSED)
            append(block.data(), block.size());
        else
            expand(block);
        return true;
    }

    void append(const uint8_t* bytes, size_t size) {
        require_file(size <= most_ - content_.size(), "a packet holds too many bytes");
        content_.insert(content_.end(), bytes, bytes + size);
    }

    // Sequences of literals and matches; the last one has no match.
    void expand(const Bytes& block) {
        for (size_t at = 0;;) {
            const uint8_t token = block.at<uint8_t>(at++);
            const size_t literals = length(block, at, token >> 4);
            append(block.part(at, literals).data(), literals);
            at += literals;
            require(expanded() <= block_size_);
            if (at == block.size()) return;
            require(at + 2 + 1 + LAST_LITERALS <= block.size() &&
                    expanded() + LAST_MATCH <= block_size_);
            const size_t distance = block.at<uint16_t>(at);
            at += 2;
            repeat(distance, length(block, at, token & 15) + MIN_MATCH);
            require(at + LAST_LITERALS <= block.size() &&
                    expanded() + LAST_LITERALS <= block_size_);
        }
    }

    size_t expanded() const { return content_.size() - block_start_; }

    static size_t length(const Bytes& block, size_t& at, size_t length) {
        if (length < 15) return length;
        uint8_t more;
        do length += more = block.at<uint8_t>(at++);
        while (more == 255);
        return length;
    }

    void repeat(size_t distance, size_t size) {
        require(distance >= 1 && distance <= (independent_ ? expanded() : content_.size()));
        require_file(size <= most_ - content_.size(), "a packet holds too many bytes");
        const size_t start = content_.size();
        content_.resize(start + size);
        for (size_t i = start; i < content_.size(); ++i) content_[i] = content_[i - distance];
    }

    Bytes bytes_;
    size_t most_, at_ = 0;
    size_t block_size_ = 0, block_start_ = 0;  // largest size of a block, and where one begins
    bool independent_ = false;                 // whether a block refers to itself alone
    std::vector<uint8_t> content_;
};

}  // namespace

std::vector<uint8_t> decompress_lz4(Bytes frame, size_t most) {
    return Frame(frame, most).decompress();
}

}  // namespace lmht::library
