// Where every buffer of an engine lies in its one block of memory. Pure arithmetic: a plan is
// computed from a model, can be printed, and allocates nothing.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "model.hpp"
#include "row_inputs.hpp"
#include "tiles.hpp"

namespace lmht {

// A place in a block of memory that holds elements of T.
template <class T>
struct Offset {
    size_t bytes = 0;

    T* in(unsigned char* block) const { return reinterpret_cast<T*>(block + bytes); }
};

// Lays out arrays one after another. Each begins on a cache line.
class Layout {
public:
    template <class T>
    Offset<T> add(size_t n) {
        const Offset<T> at{bytes_};
        bytes_ += (n * sizeof(T) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
        return at;
    }

    size_t bytes() const { return bytes_; }

private:
    size_t bytes_ = 0;
};

// One view of the spikes of a layer.
struct SpikesLayout {
    Spikes shape;  // without pointers
    Offset<uint64_t> mask;
    Offset<unsigned char> values;  // beside the mask, by format; in an image, its first pixel

    Spikes in(unsigned char* block) const;
};

struct TallyLayout {
    const std::vector<int32_t>* columns;  // of the tensor
    Offset<int64_t> events, spikes, row_events, row_spikes, row_shared;
    Offset<uint64_t> row_active_steps, row_compact;
    std::array<Offset<int64_t>, VIEWS> row_active;  // by View

    Tally in(unsigned char* block) const;
};

// The output of a layer. Views with the same values share memory. A view that no layer reads has
// none.
struct TensorLayout {
    std::array<std::optional<SpikesLayout>, VIEWS> views;  // by View
    TallyLayout tally;
    size_t bytes = 0;

    explicit TensorLayout(const Tensor& tensor);
    Activation in(unsigned char* block) const;
};

// The order in which a layer computes its output.
enum class Order : uint8_t {
    Rows,    // rows outside, all slices of a row at once: the weights stay in the cache
    Slices,  // slices outside: for weights that do not fit the cache, few rows to share out, or
             // rows that are too short for tiles
};

// `tiles`: whether the tier multiplies tiles. `cache_bytes`: as in `Model`.
Order order_of(const SynapticLayer& layer, int threads, bool tiles, size_t cache_bytes);

// Lists or dense values of one output row, one entry per synapse. All slices that read the same
// input channels use the same lists.
struct RowLayout {
    struct Lists {
        Path path;  // Channelwise has no lists
        size_t row_pitch = 0;
        int positions = 0;
        Offset<uint32_t> rows, starts;
        std::optional<Offset<int32_t>> values;  // none for binary spikes
        std::optional<Offset<uint8_t>> dense;   // none where tiles are multiplied
    };
    std::vector<Lists> synapses;
    size_t bytes = 0;  // of one row

    RowLayout() = default;
    RowLayout(const Model& model, const SynapticLayer& layer);
    // Row `i` of those whose memory begins at `rows`.
    void bind(unsigned char* rows, int i, PreparedRow& row) const;

private:
    void add_lists(const Model& model, const SynapticLayer& layer, const Synapse& synapse,
                   Layout& layout);
};

// A range of the block that one purpose uses during some of the layers.
struct Buffer {
    std::string name;
    size_t bytes;
    int first_layer, last_layer;  // both included
    size_t offset = 0;

    bool overlaps_in_time(const Buffer& other) const {
        return first_layer <= other.last_layer && other.first_layer <= last_layer;
    }
};

// First-fit placement: buffers that are never in use together may share memory. Sets the offsets
// and returns the bytes of all.
size_t place(std::vector<Buffer>& buffers);

struct MemoryPlan {
    struct LayerPlan {  // of a layer with synapses
        Order order = Order::Rows;
        RowLayout row;
        int rows = 1;  // that are prepared before the first of them is computed
        TileShape tiles;
        std::vector<std::optional<Tiling>> tilings;  // by synapse; none where it has no tiles
        std::vector<Offset<uint8_t>> images;         // the same
        size_t sums = 0;                             // of one synapse, in int32
        size_t image_bytes = 0;
    };
    struct ThreadPlan {
        Offset<int32_t> currents;     // of one output row
        Offset<unsigned char> lists;  // of some output rows, Order::Rows
        Offset<int32_t> sums;         // of the rows that are multiplied together, by synapse
    };

    std::vector<TensorLayout> tensors;
    std::vector<Buffer> buffers;    // first those of the tensors, then all others
    std::vector<LayerPlan> layers;  // by layer
    std::vector<ThreadPlan> threads;
    Offset<unsigned char> row_lists;  // of all rows of a layer with Order::Slices
    Offset<unsigned char> images;     // of the inputs of a layer
    size_t bytes = 0;
    size_t max_rows = 0;      // that are prepared together
    size_t max_synapses = 0;  // of a layer
    size_t max_paths = 0;     // synapses times slices of a layer
    size_t max_tiles = 0;     // that are multiplied together

    MemoryPlan(const Model& model, int threads);

private:
    void plan_tensors(const Model& model);
    void plan_layers(const Model& model, int threads);
    void plan_tiles(const SynapticLayer& layer, int threads, LayerPlan& plan);
    void plan_lists(const Model& model, int threads);
    size_t append(const std::string& name, size_t bytes);
};

// A table of all buffers.
std::string to_string(const MemoryPlan& plan);

}  // namespace lmht
