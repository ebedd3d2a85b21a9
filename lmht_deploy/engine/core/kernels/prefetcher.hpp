// Prefetches weights into the cache.
#pragma once
#include "simd.hpp"

namespace lmht {
namespace {

constexpr int FETCHED_BYTES = 64;  // by one prefetch

// Prefetches the weights that are needed next while the current ones are used. The prefetches are
// spread over this work: many at once would fill the queue of the cache, and delay the work.
class Prefetcher {
public:
    // Spreads the prefetches over `units` equal parts of the current work.
    Prefetcher(const uint8_t* from, size_t bytes, int units)
        : at_(from),
          due_(from),
          end_(from + bytes),
          lines_(int((bytes / FETCHED_BYTES + units - 1) / units)) {}

    // A unit is one pixel of one block.
    Prefetcher(const NeuronRow& row, int first_block)
        : Prefetcher(row.prefetch, row.prefetch_bytes, row.width * (row.blocks - first_block)) {}

    // Cache lines to fetch per unit.
    LMHT_INLINE int lines() const { return lines_; }

    // Fetches the next n lines.
    LMHT_INLINE void fetch(int n) {
        set_due(n);
        finish();
    }

    // Makes the next n lines due. The caller then calls `fetch_line` between its additions, and
    // `finish` for the lines that are left. Up to FEW lines are fetched at once.
    LMHT_INLINE void begin(int n) {
        set_due(n);
        if (!SPREADS || n <= FEW) finish();
    }

    LMHT_INLINE bool is_due() const { return SPREADS && at_ < due_; }

    LMHT_INLINE void finish() {
        while (at_ < due_) fetch_line();
    }

    LMHT_INLINE void fetch_line() {
#if defined(__wasm__)  // has no prefetch: a load whose value is not used has the same effect
        static_cast<void>(*static_cast<const volatile uint8_t*>(at_));
#else
        __builtin_prefetch(at_, 0, 2);
#endif
        at_ += FETCHED_BYTES;
    }

private:
    static constexpr int FEW = 8;
#if defined(__wasm__)  // the module is to be small
    static constexpr bool SPREADS = false;
#else
    static constexpr bool SPREADS = true;
#endif

    LMHT_INLINE void set_due(int n) {
        const ptrdiff_t bytes = ptrdiff_t(n) * FETCHED_BYTES;
        due_ = bytes < end_ - at_ ? at_ + bytes : end_;
    }

    const uint8_t *at_, *due_, *end_;
    int lines_;
};

}  // namespace
}  // namespace lmht
