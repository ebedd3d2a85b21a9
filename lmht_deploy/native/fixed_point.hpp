// The fraction of leaks and decays: λ of LM-HT neurons, and what a step leaves of u and v of CUBA
// neurons. LEAK_ONE in Python's network module, STATE_ONE in its netx module.
#pragma once

namespace lmht {

constexpr int LEAK_BITS = 12;
constexpr int LEAK_ONE = 1 << LEAK_BITS;  // 1.0

}  // namespace lmht
