// lmht.h: recordings and streams.
#include <algorithm>

#include "api.hpp"

namespace lib = lmht::library;

namespace {

lib::Choice choice_of(int32_t width, int32_t height, const char* track) {
    lib::require_argument(width >= 0 && height >= 0 && (width == 0) == (height == 0),
                          "the size of a sensor has a width and a height, or 0 for both");
    return {{height, width}, track ? track : ""};
}

lmht_event as_event(const lmht::events::Event& event) {
    return {event.t, event.x, event.y, event.p, {0, 0, 0}};
}

// Reads until there are events. False at the end of the file.
bool refill(lmht_recording& recording) {
    while (recording.done == recording.events.size()) {
        recording.events.clear();
        recording.done = 0;
        if (!recording.opened.reader->read(recording.events)) return false;
    }
    return true;
}

size_t hand_out(lmht_recording& recording, lmht_event* events, size_t capacity) {
    size_t count = 0;
    while (count < capacity && refill(recording)) {
        const size_t n = std::min(capacity - count, recording.events.size() - recording.done);
        std::transform(recording.events.begin() + int64_t(recording.done),
                       recording.events.begin() + int64_t(recording.done + n), events + count,
                       as_event);
        recording.done += n;
        count += n;
    }
    return count;
}

}  // namespace

lmht_status lmht_recording_open(const char* path, int32_t width, int32_t height, const char* track,
                                lmht_recording** recording) {
    return lib::guarded([&] {
        lib::require_pointers(path, recording);
        const lib::Choice choice = choice_of(width, height, track);
        auto opened = std::make_unique<lmht_recording>();
        lib::naming_file(path, [&] {
            opened->content = lib::read_file(path);
            opened->opened =
                lib::open_recording({opened->content.data(), opened->content.size()}, path, choice);
        });
        *recording = opened.release();
        return LMHT_OK;
    });
}

lmht_status lmht_recording_read(const void* bytes, size_t size, const char* name, int32_t width,
                                int32_t height, const char* track, lmht_recording** recording) {
    return lib::guarded([&] {
        lib::require_pointers(bytes, name, recording);
        const lib::Choice choice = choice_of(width, height, track);
        auto opened = std::make_unique<lmht_recording>();
        lib::naming_file(name, [&] {
            opened->opened =
                lib::open_recording({static_cast<const uint8_t*>(bytes), size}, name, choice);
        });
        *recording = opened.release();
        return LMHT_OK;
    });
}

void lmht_recording_free(lmht_recording* recording) {
    delete recording;
}

int32_t lmht_recording_width(const lmht_recording* recording) {
    return recording ? int32_t(recording->opened.sensor.width) : 0;
}

int32_t lmht_recording_height(const lmht_recording* recording) {
    return recording ? int32_t(recording->opened.sensor.height) : 0;
}

lmht_status lmht_recording_next(lmht_recording* recording, lmht_event* events, size_t capacity,
                                size_t* count) {
    return lib::guarded([&] {
        lib::require_pointers(recording, events, count);
        lib::require_argument(capacity >= 1, "there is no room for an event");
        *count = hand_out(*recording, events, capacity);
        return *count ? LMHT_OK : LMHT_NONE;
    });
}

lmht_status lmht_stream_options_init(lmht_stream_options* options) {
    return lib::guarded([&] {
        lib::require_pointers(options);
        *options = {.window = {LMHT_BY_NONE, 0, 0},
                    .threads = 1,
                    .drop = 0,
                    .smooth = 1,
                    .run = 0,
                    .max_gap = 10000000,
                    .min_margin = -1};
        return LMHT_OK;
    });
}

lmht_status lmht_stream_create(lmht_network* network, int32_t width, int32_t height,
                               const lmht_stream_options* options, lmht_stream** stream) {
    return lib::guarded([&] {
        lib::require_pointers(network, stream);
        lmht_stream_options chosen;
        lmht_stream_options_init(&chosen);
        if (options) chosen = *options;
        *stream = new lmht_stream{{network->loaded, {height, width}, chosen}, {}};
        return LMHT_OK;
    });
}

void lmht_stream_free(lmht_stream* stream) {
    delete stream;
}

lmht_status lmht_stream_push(lmht_stream* stream, const lmht_event* events, size_t count) {
    return lib::guarded([&] {
        lib::require_pointers(stream);
        lib::require_argument(events || count == 0, "a pointer is null");
        stream->stream.push(events, count);
        return LMHT_OK;
    });
}

lmht_status lmht_stream_elapse(lmht_stream* stream, int64_t t) {
    return lib::guarded([&] {
        lib::require_pointers(stream);
        stream->stream.elapse(t);
        return LMHT_OK;
    });
}

lmht_status lmht_stream_finish(lmht_stream* stream) {
    return lib::guarded([&] {
        lib::require_pointers(stream);
        stream->stream.finish();
        return LMHT_OK;
    });
}

lmht_status lmht_stream_next(lmht_stream* stream, lmht_decision* decision) {
    return lib::guarded([&] {
        lib::require_pointers(stream, decision);
        return stream->stream.next(*decision, stream->result.outcome) ? LMHT_OK : LMHT_NONE;
    });
}

const lmht_result* lmht_stream_result(const lmht_stream* stream) {
    return stream ? &stream->result : nullptr;
}

const int64_t* lmht_stream_counts(const lmht_stream* stream) {
    return stream ? stream->stream.counts() : nullptr;
}

lmht_status lmht_stream_get_losses(const lmht_stream* stream, lmht_stream_losses* losses) {
    return lib::guarded([&] {
        lib::require_pointers(stream, losses);
        *losses = stream->stream.losses();
        return LMHT_OK;
    });
}
