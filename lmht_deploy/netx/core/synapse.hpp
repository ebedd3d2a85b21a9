// Synapses turn the spikes of one step into currents of later steps, one row of weights per spike.
#pragma once
#include <memory>

#include "currents.hpp"
#include "spikes.hpp"
#include "weights.hpp"

namespace lmht::netx {

class Synapse {
public:
    virtual ~Synapse() = default;
    virtual void deliver(const LayerSpikes& source, CurrentRing& to,
                         const Kernels& kernels) const = 0;
    virtual int longest_delay() const { return 0; }
    // The most that spikes of 1 can add to one current, or take from it, in one step. The largest
    // integer: currents must have 32 bits.
    virtual int64_t reach() const = 0;
};

struct Geometry {
    Pair stride, padding, dilation;
    int groups;
};

std::unique_ptr<Synapse> make_convolution(Shape source, Shape target, const Geometry& geometry,
                                          const Kernel& kernel);
// weight, delay: [N_out, N_in], inputs in the order (C, H, W); `delay` may be null.
std::unique_ptr<Synapse> make_dense(Shape source, Shape target, const int32_t* weight,
                                    const int32_t* delay);

}  // namespace lmht::netx
