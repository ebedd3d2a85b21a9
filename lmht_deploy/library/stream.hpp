// Events in, decisions out: validates events, cuts them into windows, runs and judges each.
#pragma once
#include <deque>
#include <memory>
#include <variant>

#include "engine/core/engine.hpp"
#include "engine/core/incremental.hpp"
#include "events/core/validator.hpp"
#include "loaded.hpp"
#include "outcome.hpp"
#include "windower.hpp"

namespace lmht::library {

// The label and the margin of successive windows, as lmht_deploy/answers.py finds them.
class Judge {
public:
    Judge(int smooth, double min_margin, double scale)
        : smooth_(size_t(smooth)), min_margin_(min_margin), scale_(scale) {}

    void answer(const int64_t* logits, size_t classes, lmht_decision& decision);

private:
    size_t smooth_;
    double min_margin_, scale_;
    std::deque<std::vector<int64_t>> last_;
};

// Class of the largest logit, the lowest of equal ones.
int32_t largest(const int64_t* logits, size_t classes);

// Bins whose counts go to an engine, limited to the range of the input. Where the first layer reads
// its input step by step, its currents are computed when a bin is complete, once for all windows
// that contain the bin.
class Runner : public Bins {
public:
    Runner(const Loaded& loaded, events::Size sensor, int threads);

    void complete(int64_t slot) override;
    void run(int64_t oldest, bool trace, Outcome& outcome);
    int64_t number(int64_t slot) const { return events(slot); }
    int64_t lost() const;

private:
    void limit(int64_t slot, int32_t* counts) const;

    int64_t max_count_;
    std::unique_ptr<Engine> whole_;
    std::unique_ptr<IncrementalEngine> shared_;  // one of the two
    std::vector<int32_t> window_;                // or a step of it
    double complete_seconds_ = 0;
    std::shared_ptr<const Model> model_;
};

class Stream {
public:
    Stream(std::shared_ptr<const Loaded> loaded, events::Size sensor,
           const lmht_stream_options& options);

    void push(const lmht_event* events, size_t count);
    void elapse(int64_t t);
    void finish();
    // Runs the next complete window; false where it needs more events.
    bool next(lmht_decision& decision, Outcome& outcome);

    // Of the last window, [steps][2][H][W].
    const int64_t* counts() const { return counts_.data(); }
    lmht_stream_losses losses() const;

private:
    void push_valid(const events::Event* events, size_t count);
    void push_dropping(const std::vector<events::Event>& events);
    void require_open() const;
    void keep_counts();

    std::shared_ptr<const Loaded> loaded_;
    events::Size sensor_;
    lmht_stream_options options_;
    Runner runner_;
    Windower windower_;
    Judge judge_;
    events::Sifter sifter_;
    int64_t latest_ = -events::MAX_TIME, seen_ = 0, windows_ = 0;
    bool ended_ = false;
    std::vector<int64_t> counts_;
};

}  // namespace lmht::library
