// How recordings are cut into windows; lmht_deploy/events/windows.py has the rule.
#pragma once
#include <cstdint>

#include "include/lmht.h"

namespace lmht::library {

constexpr int64_t MAX_LENGTH = int64_t(1) << 60;

// Whether `rule` fits a network of `steps` time-steps; LMHT_BY_NONE fits none.
inline bool is_rule(const lmht_window_rule& rule, int64_t steps) {
    if (rule.hop < 0 || rule.hop > steps) return false;
    if (rule.by == LMHT_BY_RECORDING) return rule.length == 0 && rule.hop % steps == 0;
    return (rule.by == LMHT_BY_TIME || rule.by == LMHT_BY_EVENTS) && rule.length >= 1 &&
           rule.length <= MAX_LENGTH && rule.length % steps == 0;
}

}  // namespace lmht::library
