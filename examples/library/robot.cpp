// A node for the loop of a robot: events of a camera in, decisions out, without waiting for the
// next event. Node is the part to copy; main() plays a recording in real time in place of a camera.
//
//     robot net.lmhtf recording.raw [SECONDS]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <lmht.hpp>
#include <string>
#include <thread>
#include <vector>

// Classifies the events of a camera. spin() belongs in the loop; all calls are of one thread.
class Node {
public:
    using Answer = std::function<void(const lmht_decision&)>;

    // `grace`: us that events may be late.
    Node(const lmht::Network& network, int width, int height, int64_t grace, Answer answer)
        : stream_(network, width, height, options()), grace_(grace), answer_(std::move(answer)) {}

    // Events as the driver of the camera gives them, in order of time.
    void on_events(const std::vector<lmht_event>& events) { stream_.push(events); }

    // Answers what is complete at `now`, the time of the camera in us. A window ends on time, also
    // where the scene stands still and no event comes.
    void spin(int64_t now) {
        stream_.elapse(now - grace_);
        lmht_decision decision;
        while (stream_.next(decision)) answer_(decision);
    }

    lmht_stream_losses losses() const { return stream_.losses(); }

private:
    static lmht_stream_options options() {
        lmht_stream_options options = lmht::Stream::defaults();
        options.drop = 1;    // a robot goes on
        options.smooth = 3;  // and does not start at each answer
        return options;
    }

    lmht::Stream stream_;
    int64_t grace_;
    Answer answer_;
};

// Gives the events of a recording when it is time for them.
class Player {
public:
    explicit Player(const std::string& path) : recording_(path) { refill(); }

    const lmht::Recording& recording() const { return recording_; }
    bool ended() const { return events_.empty(); }
    int64_t first() const { return events_.empty() ? 0 : events_.front().t; }

    // The events before `now`.
    std::vector<lmht_event> take(int64_t now) {
        std::vector<lmht_event> found;
        while (!events_.empty() && events_[at_].t < now) {
            found.push_back(events_[at_++]);
            if (at_ == events_.size()) refill();
        }
        return found;
    }

private:
    void refill() {
        recording_.next(events_);
        at_ = 0;
    }

    lmht::Recording recording_;
    std::vector<lmht_event> events_;
    size_t at_ = 0;
};

int main(int argc, char** argv) try {
    if (argc < 3) return std::fprintf(stderr, "robot NETWORK RECORDING [SECONDS]\n"), 2;
    using namespace std::chrono;
    const double limit = argc > 3 ? std::atof(argv[3]) : 1e9;
    const lmht::Network network(argv[1]);
    Player camera(argv[2]);
    Node node(network, camera.recording().width(), camera.recording().height(), 2000,
              [&](const lmht_decision& d) {
                  const std::string name = d.label < 0 ? "unknown" : network.class_name(d.label);
                  std::printf("%8.3f s  %s  margin %.3f  %.3f ms\n", double(d.time) * 1e-6,
                              name.c_str(), d.margin, d.seconds * 1e3);
              });
    const int64_t first = camera.first();
    const auto start = steady_clock::now();
    for (auto now = start; !camera.ended() && now - start < duration<double>(limit);
         std::this_thread::sleep_until(now += milliseconds(5))) {
        const int64_t time = first + duration_cast<microseconds>(now - start).count();
        node.on_events(camera.take(time));
        node.spin(time);
    }
    const lmht_stream_losses losses = node.losses();
    std::printf("%lld events out of order, %lld late\n", (long long)losses.order,
                (long long)losses.late);
} catch (const lmht::Error& error) {
    std::fprintf(stderr, "robot: %s\n", error.what());
    return 1;
}
