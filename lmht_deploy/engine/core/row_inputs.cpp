#include "row_inputs.hpp"

#include <algorithm>

namespace lmht {
namespace {

// Fills the lists of one row and one slice.
class RowGatherer {
public:
    RowGatherer(const Kernels& kernels, const Synapse& synapse, const Source& source, int slice,
                int y, int silent_blocks, RowInputs& inputs)
        : kernels_(kernels),
          geometry_(synapse.geometry),
          slice_(synapse.weights.slices[slice]),
          source_(source),
          y_(y),
          silent_blocks_(silent_blocks),
          inputs_(inputs) {}

    void gather_block(int block) { gather_selected(block, Select::All, block); }

    void gather_pair(int pair, bool share) {
        const int first = 2 * pair, second = first + 1, both = blocks() + pair;
        const Select select = share ? Select::Unshared : Select::All;
        gather_selected(first, select, share ? second : first);
        gather_selected(second, select, share ? first : second);
        if (share)
            gather(first, both, Select::Shared, second);
        else
            clear(both);
    }

    int blocks() const { return source_.spikes.steps; }

private:
    // The list of a block; a silent one needs no search. The dense values of blocks before the
    // first spike are not read.
    void gather_selected(int block, Select select, int partner) {
        if (!is_silent(geometry_, source_, y_, block)) return gather(block, block, select, partner);
        if (inputs_.path == Path::Dense) {
            if (block >= silent_blocks_) gather(block, block, select, partner);
            return;
        }
        clear(block);
        if (inputs_.path == Path::Graded) clear(blocks() + block);
    }

    void clear(int list) {
        const int positions = inputs_.positions + 1;
        std::fill_n(inputs_.starts + size_t(list) * positions, positions, 0);
    }

    void gather(int block, int list, Select select, int partner) {
        const GatherRow row{.source = &source_.spikes,
                            .block = block,
                            .list = list,
                            .select = select,
                            .partner = partner,
                            .first_row = geometry_.input_row(y_, 0),
                            .row_step = geometry_.dilation.y,
                            .kernel_height = geometry_.kernel.y,
                            .columns = geometry_.columns.data(),
                            .channel0 = slice_.channel0,
                            .channels = slice_.channels,
                            .pitch = slice_.pitch,
                            .into = &inputs_};
        if (inputs_.path == Path::Dense)
            kernels_.fill(row);
        else
            kernels_.list(row);
    }

    const Kernels& kernels_;
    const Geometry& geometry_;
    const Slice& slice_;
    const Source& source_;
    int y_, silent_blocks_;
    RowInputs& inputs_;
};

}  // namespace

void gather_row(const Kernels& kernels, const Synapse& synapse, const Source& source, int slice,
                int y, int silent_blocks, const PathChooser& chooser, RowInputs& inputs) {
    const Geometry& geometry = synapse.geometry;
    inputs.dense_pitch =
        geometry.columns.size() * geometry.kernel.y * synapse.weights.slices[slice].channels;
    RowGatherer gatherer(kernels, synapse, source, slice, y, silent_blocks, inputs);
    int block = 0;
    if (inputs.path == Path::Shared) {
        const double min_shared = chooser.min_shared(
            traits_of(synapse, synapse.weights.slices[slice], source, chooser.costs()));
        for (; block + 1 < gatherer.blocks(); block += 2)
            gatherer.gather_pair(block / 2, double(spikes_shared(synapse.geometry, source, y,
                                                                 block / 2)) > min_shared);
    }
    for (; block < gatherer.blocks(); ++block) gatherer.gather_block(block);
}

}  // namespace lmht
