// Sigma-delta neurons, as Lava's fixed-point models have them: messages are changes of a value.
#pragma once
#include <algorithm>
#include <cstdint>

namespace lmht::netx {

// A message has 6 fractional bits, and a state 6 more.
constexpr int MESSAGE_BITS = 6, SIGMA_DELTA_BITS = 12;

struct SigmaDelta {
    enum class Kind { delta, sigma_delta, sigma };

    Kind kind;
    int32_t threshold;  // in the unit of a state
    int current_bits;   // at which the sum of one step wraps
};

// One neuron. Sums wrap at 32 bits.
struct SigmaDeltaState {
    int32_t &sigma, &act, &residue;

    // One step; `input` is the current or, of a delta neuron, the value. Returns the message.
    int32_t step(const SigmaDelta& neuron, int32_t input, int32_t bias) const {
        switch (neuron.kind) {
            case SigmaDelta::Kind::sigma:
                sigma = act = add(sigma, input);
                return sigma;
            case SigmaDelta::Kind::sigma_delta:
                sigma = add(sigma, input);
                return encode(neuron, std::max(add(sigma, bias), 0));
            case SigmaDelta::Kind::delta:
                break;
        }
        return encode(neuron, int32_t(uint32_t(input) << SIGMA_DELTA_BITS));
    }

private:
    static int32_t negative(int32_t a) { return int32_t(0u - uint32_t(a)); }
    static int32_t add(int32_t a, int32_t b) { return int32_t(uint32_t(a) + uint32_t(b)); }

    int32_t encode(const SigmaDelta& neuron, int32_t value) const {
        const int32_t delta = add(add(value, negative(act)), residue);
        const int32_t size = delta < 0 ? negative(delta) : delta;
        const int32_t sent = size >= neuron.threshold ? delta : 0;
        residue = delta - sent;
        act = value;
        return sent >> MESSAGE_BITS;
    }
};

// The lowest `bits` bits of a sum, with a sign.
inline int32_t wrap(int32_t sum, int bits) {
    return int32_t(uint32_t(sum) << (32 - bits)) >> (32 - bits);
}

}  // namespace lmht::netx
