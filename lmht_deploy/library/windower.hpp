// Cuts events into windows, in constant memory; lmht_deploy/events/stream.py does the same for
// Python.
#pragma once
#include <deque>
#include <vector>

#include "events/core/event.hpp"
#include "include/lmht.h"

namespace lmht::library {

// The bins of the window in progress: a ring of T_in slots, each with counts int64 [2][H][W].
class Bins {
public:
    Bins(int64_t steps, events::Size sensor, events::Size size);
    virtual ~Bins() = default;

    int64_t steps() const { return steps_; }
    void add(int64_t slot, const events::Event* events, size_t count);
    // No event will be added to the bin in `slot`.
    virtual void complete(int64_t slot) { (void)slot; }
    void clear(int64_t slot);

    const int64_t* counts(int64_t slot) const { return &frames_[size_t(slot) * cells_]; }
    size_t cells() const { return cells_; }
    int64_t events(int64_t slot) const { return events_[size_t(slot)]; }

private:
    int64_t steps_;
    events::Size sensor_, size_;
    size_t cells_;  // of a bin
    std::vector<int64_t> frames_, events_;
};

class Windower {
public:
    // `rule` fits the steps of `bins`. In a gap of more than `max_gap` us, windows by time that
    // hold no event are skipped.
    Windower(const lmht_window_rule& rule, int64_t max_gap, Bins& bins);

    // Adds events, which are valid.
    void push(const events::Event* events, size_t count);
    // Bins that end at `t` or before end behind the events so far.
    void elapse(int64_t t) { marks_.push_back({events_.size(), t}); }
    // Behind the events so far, the last window ends.
    void finish() { finishing_ = true; }

    // Whether a window is complete. Its oldest bin is in slot oldest(), until the next call.
    bool next();

    int64_t oldest() const { return bin_ % bins_.steps(); }
    int64_t start() const { return window_start_; }  // us from the first event
    int64_t end() const { return window_end_; }      // us
    bool incomplete() const { return incomplete_; }
    int64_t late() const { return late_; }
    int64_t skipped() const { return skipped_; }

private:
    struct Mark {  // an elapse, behind so many events
        size_t position;
        int64_t t;
    };

    bool by(int32_t kind) const { return rule_.by == kind; }
    bool cut_whole();
    bool complete_bin();
    bool follow_mark();
    void place();
    void place_timed(int64_t t, int64_t index);
    void add_events(int64_t index);
    void skip(int64_t index);
    size_t end_of_bin(int64_t index) const;
    int64_t bin_of(int64_t t) const;
    int64_t windows_before(int64_t bin) const;
    void note_window();

    lmht_window_rule rule_;
    int64_t max_gap_, bin_length_;
    Bins& bins_;

    std::vector<events::Event> events_;  // that are not counted yet, from `done_` on
    size_t done_ = 0;
    std::deque<Mark> marks_;
    bool finishing_ = false, incomplete_ = false;

    int64_t bin_ = 0;        // in progress
    int64_t goal_ = 0;       // bins before it are to be completed
    int64_t skip_to_ = -1;   // and then those before this one are left out
    bool pending_ = false;   // whether events are in no window yet
    bool clearing_ = false;  // whether the bin in progress still holds the oldest one
    int64_t seen_ = 0, first_ = 0, last_ = 0;
    std::vector<int64_t> begins_;  // by slot, time of the first event of a bin by events
    int64_t window_start_ = 0, window_end_ = 0, late_ = 0, skipped_ = 0;
};

}  // namespace lmht::library
