// x86-64 with AVX-512, VNNI and AMX: Sapphire Rapids and later.
#define VECTOR_BYTES 64
#include "avx512.hpp"
#include "native/compiled_tier.hpp"
#include "pixels.hpp"
#include "table.hpp"

namespace lmht {
namespace {

// A product of tiles adds, for 16 output pixels and 16 output channels, what 64 slots bring: u8
// times s8, summed in 32 bits, modulo 2^32 like all sums here.
//
//     values  [16 pixels][64 slots]                   in an image: rows `value_pitch` apart
//     weights [16 groups of 4 slots][16 channels][4]  in one piece: QuadOrder::Tiles
//     sums    [16 pixels][16 channels]
//
// Two times two of them share their operands, or three times two. The eight tiles:
//
//                           6: channels n..    7: channels n + 16..
//     4: pixels m..         0                  1
//     5: pixels m + 16..    2                  3
//
//                           6: channels n..    6: channels n + 16..
//     7: pixels m..         0                  3
//     7: pixels m + 16..    1                  4
//     7: pixels m + 32..    2                  5
constexpr int WEIGHT_PITCH = TILE_SIZE * QUAD, SUM_PITCH = LANES * int(sizeof(int32_t));
constexpr int TILE_BYTES = DEPTH * TILE_SIZE, PAIR = 2 * TILE_SIZE;

// Groups of 64 slots from which on the weights of 32 channels, 2 KB per group, exceed the
// first-level cache. Three tiles of pixels then share them: fewer tiles of weights are loaded, at
// the price of two tiles of values that are loaded twice.
constexpr int DEPTH_OF_THREE = 32;

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

// Tiles of sums and of values have one row per pixel.
constexpr TileConfig config_of(int pixels, bool three) {
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
        const bool of_weights = tile == 6 || (tile == 7 && !three);
        config.row_bytes[tile] = 64;
        config.rows[tile] = uint8_t(of_weights ? TILE_SIZE : pixels);
    }
    return config;
}

struct Configs {
    TileConfig of_two[TILE_SIZE + 1], of_three[TILE_SIZE + 1];  // by pixels

    constexpr Configs() : of_two(), of_three() {
        for (int pixels = 1; pixels <= TILE_SIZE; ++pixels) {
            of_two[pixels] = config_of(pixels, false);
            of_three[pixels] = config_of(pixels, true);
        }
    }
};
constexpr Configs CONFIGS;

// Weights of the 32 channels from `channel` on: two tiles after another for every 64 slots.
LMHT_INLINE const int8_t* weights_of(const DenseProduct& product, int channel) {
    return product.quads + size_t(channel) / TILE_SIZE * product.depth * TILE_BYTES;
}

// Stores a tile of sums and clears it. Products of the next sums follow: the unit that multiplies
// would stand still while all of them are stored at once. A macro, since the intrinsics need
// literals.
#define LMHT_TAKE(tile, to)                \
    do {                                   \
        _tile_stored(tile, to, SUM_PITCH); \
        _tile_zero(tile);                  \
    } while (0)

// Where the sums of two tiles of pixels belong, or of one tile and twice as many channels: tiles 0
// and 1, and tiles 2 and 3, side by side.
struct SumsOfTwo {
    int32_t *first, *second;
};

// The products of one group of 64 slots: two tiles of pixels and 32 channels from `w` on; or, not
// PAIRED, one tile and 64 channels, the others from `v` on, so that no product waits for the last.
// FIRST takes the sums before: they belong to `before`.
template <bool PAIRED, bool FIRST>
LMHT_INLINE void add_products(const DenseProduct& product, const PixelTile* tiles, int d,
                              const int8_t* w, const int8_t* v, const SumsOfTwo& before) {
    const size_t offset = product.offsets[d];
    _tile_loadd(4, tiles[0].values + offset, product.value_pitch);
    _tile_loadd(6, w, WEIGHT_PITCH);
    if (FIRST) LMHT_TAKE(0, before.first);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, w + TILE_BYTES, WEIGHT_PITCH);
    if (FIRST) LMHT_TAKE(1, before.first + TILE_SIZE);
    _tile_dpbusd(1, 4, 7);
    if (PAIRED) {
        _tile_loadd(5, tiles[1].values + offset, product.value_pitch);
        if (FIRST) LMHT_TAKE(2, before.second);
        _tile_dpbusd(2, 5, 6);
        if (FIRST) LMHT_TAKE(3, before.second + TILE_SIZE);
        _tile_dpbusd(3, 5, 7);
    } else {
        _tile_loadd(6, v, WEIGHT_PITCH);
        if (FIRST) LMHT_TAKE(2, before.second);
        _tile_dpbusd(2, 4, 6);
        _tile_loadd(7, v + TILE_BYTES, WEIGHT_PITCH);
        if (FIRST) LMHT_TAKE(3, before.second + TILE_SIZE);
        _tile_dpbusd(3, 4, 7);
    }
}

// All groups. Returns where the sums belong, which the tiles still hold.
template <bool PAIRED>
LMHT_INLINE SumsOfTwo multiply_two(const DenseProduct& product, const PixelTile* tiles, int channel,
                                   const SumsOfTwo& before, Prefetcher& prefetcher) {
    const int lines = PAIRED ? prefetcher.lines() : 2 * prefetcher.lines();
    const int8_t *w = weights_of(product, channel), *v = weights_of(product, PAIR);
    add_products<PAIRED, true>(product, tiles, 0, w, v, before);
    for (int d = 1; d < product.depth; ++d) {
        prefetcher.fetch(lines);
        w += 2 * TILE_BYTES;
        v += 2 * TILE_BYTES;
        add_products<PAIRED, false>(product, tiles, d, w, v, before);
    }
    prefetcher.fetch(lines);
    int32_t* const to = tiles[0].sums + channel;
    return {to, PAIRED ? tiles[1].sums + channel : to + PAIR};
}

// Half of the channels at a time: their weights stay in the first-level cache, if there are few.
void multiply_in_twos(const DenseProduct& product, const PixelTile* tiles, int n,
                      Prefetcher& prefetcher) {
    _tile_loadconfig(&CONFIGS.of_two[product.pixels]);
    // The first sums that are stored are zeros, in a place that is overwritten.
    SumsOfTwo sums{tiles[0].sums, tiles[0].sums + PAIR};
    const int paired = n / 2 * 2;
    for (int channel = 0; channel < LANES; channel += PAIR)
        for (int tile = 0; tile < paired; tile += 2)
            sums = multiply_two<true>(product, tiles + tile, channel, sums, prefetcher);
    if (paired < n) sums = multiply_two<false>(product, tiles + paired, 0, sums, prefetcher);
    LMHT_TAKE(0, sums.first);
    LMHT_TAKE(1, sums.first + TILE_SIZE);
    LMHT_TAKE(2, sums.second);
    LMHT_TAKE(3, sums.second + TILE_SIZE);
}

// Where the sums of three tiles of pixels and 32 channels belong.
struct SumsOfThree {
    int32_t *first, *second, *third;
};

// As `add_products`. The other 16 channels take the tiles of pixels in reverse order, so that the
// third one is loaded once.
template <bool FIRST>
LMHT_INLINE void add_three_products(const DenseProduct& product, const PixelTile* tiles, int d,
                                    const int8_t* w, const SumsOfThree& before) {
    const size_t offset = product.offsets[d], pitch = product.value_pitch;
    _tile_loadd(6, w, WEIGHT_PITCH);
    _tile_loadd(7, tiles[0].values + offset, pitch);
    if (FIRST) LMHT_TAKE(0, before.first);
    _tile_dpbusd(0, 7, 6);
    _tile_loadd(7, tiles[1].values + offset, pitch);
    if (FIRST) LMHT_TAKE(1, before.second);
    _tile_dpbusd(1, 7, 6);
    _tile_loadd(7, tiles[2].values + offset, pitch);
    if (FIRST) LMHT_TAKE(2, before.third);
    _tile_dpbusd(2, 7, 6);
    _tile_loadd(6, w + TILE_BYTES, WEIGHT_PITCH);
    if (FIRST) LMHT_TAKE(5, before.third + TILE_SIZE);
    _tile_dpbusd(5, 7, 6);
    _tile_loadd(7, tiles[1].values + offset, pitch);
    if (FIRST) LMHT_TAKE(4, before.second + TILE_SIZE);
    _tile_dpbusd(4, 7, 6);
    _tile_loadd(7, tiles[0].values + offset, pitch);
    if (FIRST) LMHT_TAKE(3, before.first + TILE_SIZE);
    _tile_dpbusd(3, 7, 6);
}

void multiply_in_threes(const DenseProduct& product, const PixelTile* tiles, int n,
                        Prefetcher& prefetcher) {
    _tile_loadconfig(&CONFIGS.of_three[product.pixels]);
    int32_t* const scratch = tiles[0].sums;
    SumsOfThree sums{scratch, scratch, scratch};
    for (int channel = 0; channel < LANES; channel += PAIR)
        for (int tile = 0; tile < n; tile += 3) {
            const PixelTile* const three = tiles + tile;
            const int8_t* w = weights_of(product, channel);
            add_three_products<true>(product, three, 0, w, sums);
            for (int d = 1; d < product.depth; ++d) {
                prefetcher.fetch(prefetcher.lines());
                w += 2 * TILE_BYTES;
                add_three_products<false>(product, three, d, w, sums);
            }
            prefetcher.fetch(prefetcher.lines());
            sums = {three[0].sums + channel, three[1].sums + channel, three[2].sums + channel};
        }
    LMHT_TAKE(0, sums.first);
    LMHT_TAKE(1, sums.second);
    LMHT_TAKE(2, sums.third);
    LMHT_TAKE(3, sums.first + TILE_SIZE);
    LMHT_TAKE(4, sums.second + TILE_SIZE);
    LMHT_TAKE(5, sums.third + TILE_SIZE);
}

// How many of n tiles go in threes: as many as leave no single one. Four go in twos.
int tiles_in_threes(int n, int depth) {
    if (depth < DEPTH_OF_THREE || n < 3) return 0;
    return n % 3 == 1 ? n - 4 : n / 3 * 3;
}

void multiply(const DenseProduct& product) {
    const int n = product.n_tiles, in_threes = tiles_in_threes(n, product.depth);
    const int in_twos = n - in_threes, passes = in_threes / 3 + (in_twos + 1) / 2;
    // If each weight is read once, the processor itself fetches what follows, and faster.
    Prefetcher prefetcher(product.prefetch, passes > 1 ? product.prefetch_bytes : 0,
                          2 * passes * product.depth);
    __asm__ volatile("" ::: "memory");  // the compiler does not see that tiles read memory
    if (in_threes) multiply_in_threes(product, product.tiles, in_threes, prefetcher);
    if (in_twos) multiply_in_twos(product, product.tiles + in_threes, in_twos, prefetcher);
    _tile_release();
}

constexpr Kernels with_tiles(Kernels kernels) {
    kernels.copy_pixels = copy_pixels<Avx512>;
    kernels.multiply = multiply;
    return kernels;
}

}  // namespace

const Kernels* kernels_amx() {
    static constexpr Kernels kernels = with_tiles(table<Avx512>("amx", {.binary_row = 1.8f,
                                                                        .graded_row = 3,
                                                                        .weighted_row = 9,
                                                                        .large_slice_factor = 1.35f,
                                                                        .dense_slot = 0.52f,
                                                                        .dense_pixel = 40,
                                                                        .dense_word = 4,
                                                                        .tile_product = 18,
                                                                        .tile_pixel = 28,
                                                                        .list_pixel = 35,
                                                                        .graded_pixel = 70,
                                                                        .list_word = 8,
                                                                        .extra_list_pixel = 45}));
    return &kernels;
}

}  // namespace lmht
