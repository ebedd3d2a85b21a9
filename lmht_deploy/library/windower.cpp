#include "windower.hpp"

#include <algorithm>

#include "events/core/bins.hpp"

namespace lmht::library {
namespace {

constexpr int64_t MAX_EMPTY_BINS = 1000000;  // that elapse() completes at once

using Wide = __int128;  // a time times a number of bins

}  // namespace

// ------------------------------------------------------------------------------------------------
// bins

Bins::Bins(int64_t steps, events::Size sensor, events::Size size)
    : steps_(steps),
      sensor_(sensor),
      size_(size),
      cells_(size_t(2 * size.height * size.width)),
      frames_(size_t(steps) * cells_),
      events_(size_t(steps)) {}

void Bins::add(int64_t slot, const events::Event* events, size_t count) {
    events::add(events, count, sensor_, size_, &frames_[size_t(slot) * cells_]);
    events_[size_t(slot)] += int64_t(count);
}

void Bins::clear(int64_t slot) {
    std::fill_n(frames_.begin() + slot * int64_t(cells_), cells_, 0);
    events_[size_t(slot)] = 0;
}

// ------------------------------------------------------------------------------------------------
// windows

Windower::Windower(const lmht_window_rule& rule, int64_t max_gap, Bins& bins)
    : rule_(rule),
      max_gap_(max_gap),
      bin_length_(rule.length / bins.steps()),
      bins_(bins),
      begins_(size_t(bins.steps())) {
    if (rule_.hop == 0) rule_.hop = int32_t(bins.steps());
}

void Windower::push(const events::Event* events, size_t count) {
    if (seen_ == 0 && events_.empty() && count) first_ = events[0].t;
    events_.insert(events_.end(), events, events + count);
}

bool Windower::next() {
    if (by(LMHT_BY_RECORDING)) return cut_whole();
    if (clearing_) bins_.clear(oldest());
    clearing_ = false;
    for (;;) {
        if (bin_ < goal_) {
            if (complete_bin()) return true;
        } else if (skip_to_ >= 0) {
            skip(skip_to_);
            skip_to_ = -1;
        } else if (!follow_mark()) {
            if (done_ < events_.size()) {
                place();
            } else {
                events_.clear();
                done_ = 0;
                if (!finishing_ || !pending_) return false;
                incomplete_ = true;
                goal_ = bin_ + 1;
            }
        }
    }
}

// One window that holds all events; its last bin is closed.
bool Windower::cut_whole() {
    if (!finishing_ || events_.empty()) return false;
    const int64_t steps = bins_.steps(), last = events_.back().t;
    const Wide span = std::max<Wide>(Wide(last) - first_, 1);
    for (int64_t bin = 0; bin < steps; ++bin) {
        const int64_t edge = first_ + int64_t(((bin + 1) * span + steps - 1) / steps);
        size_t end = events_.size();
        if (bin + 1 < steps) end = events::first_at(events_.data(), events_.size(), edge);
        bins_.add(bin, events_.data() + done_, end - done_);
        bins_.complete(bin);
        done_ = end;
    }
    window_end_ = last;
    events_.clear();
    return true;
}

// Whether a window ends with the bin in progress, which is complete now.
bool Windower::complete_bin() {
    const int64_t steps = bins_.steps();
    bins_.complete(bin_ % steps);
    ++bin_;
    if (bin_ < steps || (bin_ - steps) % rule_.hop != 0) {
        bins_.clear(oldest());
        return false;
    }
    pending_ = false;
    clearing_ = true;
    note_window();
    return true;
}

void Windower::note_window() {
    const bool timed = by(LMHT_BY_TIME);
    window_start_ =
        timed ? (bin_ - bins_.steps()) * bin_length_ : begins_[size_t(oldest())] - first_;
    window_end_ = timed ? first_ + bin_ * bin_length_ : last_;
}

// Whether time has elapsed behind the events that are counted.
bool Windower::follow_mark() {
    if (marks_.empty() || marks_.front().position > done_) return false;
    const int64_t t = marks_.front().t;
    marks_.pop_front();
    for (Mark& mark : marks_) mark.position -= done_;
    events_.erase(events_.begin(), events_.begin() + int64_t(done_));
    done_ = 0;
    if (by(LMHT_BY_TIME) && seen_ && t > first_)
        goal_ = std::max(goal_, std::min(bin_of(t), bin_ + MAX_EMPTY_BINS));
    return true;
}

void Windower::place() {
    if (by(LMHT_BY_TIME)) {
        const int64_t t = events_[done_].t;
        place_timed(t, bin_of(t));
    } else if (const int64_t index = seen_ / bin_length_; index > bin_) {
        goal_ = index;
    } else {
        add_events(index);
        if (seen_ % bin_length_ == 0) goal_ = bin_ + 1;
    }
}

void Windower::place_timed(int64_t t, int64_t index) {
    if (index < bin_) {
        ++late_;
        ++seen_;
        ++done_;
    } else if (index == bin_) {
        add_events(index);
    } else if (seen_ && Wide(t) - last_ > max_gap_) {
        // After these bins no window, and no step of the engine, has an event.
        goal_ = std::min(index, bin_ + bins_.steps() + 1);
        skip_to_ = index;
        last_ = t;
    } else {
        goal_ = index;
    }
}

void Windower::add_events(int64_t index) {
    const size_t end = end_of_bin(index);
    const int64_t slot = index % bins_.steps();
    if (by(LMHT_BY_EVENTS) && seen_ % bin_length_ == 0) begins_[size_t(slot)] = events_[done_].t;
    bins_.add(slot, events_.data() + done_, end - done_);
    seen_ += int64_t(end - done_);
    last_ = events_[end - 1].t;
    pending_ = true;
    done_ = end;
}

// Behind the last of the events from `done_` on that belong to bin `index`. Time elapses only
// between events that are counted.
size_t Windower::end_of_bin(int64_t index) const {
    const size_t limit = marks_.empty() ? events_.size() : marks_.front().position;
    if (by(LMHT_BY_EVENTS))
        return std::min(limit, done_ + size_t((index + 1) * bin_length_ - seen_));
    const int64_t edge = first_ + (index + 1) * bin_length_;
    return done_ + events::first_at(events_.data() + done_, limit - done_, edge);
}

int64_t Windower::bin_of(int64_t t) const {
    return int64_t((Wide(t) - first_) / bin_length_);
}

// Leaves out the bins before `index`, which are empty like all bins in progress.
void Windower::skip(int64_t index) {
    if (index <= bin_) return;
    skipped_ += windows_before(index) - windows_before(bin_);
    bin_ = goal_ = index;
}

int64_t Windower::windows_before(int64_t bin) const {
    return bin < bins_.steps() ? 0 : (bin - bins_.steps()) / rule_.hop + 1;
}

}  // namespace lmht::library
