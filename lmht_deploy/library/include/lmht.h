/* liblmht: runs LM-HT networks on a CPU, without Python. It gives the integers of lmht-deploy.
 *
 *     recording --> lmht_stream  --> decisions        events with times, cut into windows
 *     windows   --> lmht_engine  --> lmht_result      counts of events, one batch at a time
 *                      |
 *                lmht_network                         one `.lmhtf` file, shared by all engines
 *
 * A network is written by `lmht export net.lmht --out net.lmhtf`. Symbols (T_in, k, SOP) are those
 * of the documentation of lmht-deploy.
 *
 * Errors: functions that can fail return an lmht_status. LMHT_OK is 0, an error is negative, and
 * lmht_error_message() describes the last error of the calling thread. After an error nothing has
 * changed, except where a function says otherwise. A null pointer is LMHT_INVALID_ARGUMENT;
 * functions that return no status return 0 or NULL for it.
 *
 * Threads: a network can be used by any number of threads. An engine runs one batch at a time, and
 * a second caller waits. So does a stepper. A result, a recording and a stream belong to one thread
 * at a time.
 *
 * Memory: an object is freed by the function whose name ends in _free, which accepts NULL. Texts
 * and arrays that a function returns belong to its first argument. An engine and a stream keep
 * their network alive.
 */
#ifndef LMHT_H
#define LMHT_H

#include <stddef.h>
#include <stdint.h>

#if defined(LMHT_BUILDING) && !defined(_WIN32)
#define LMHT_API __attribute__((visibility("default")))
#else
#define LMHT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------- versions */

/* Version of this interface. It rises when a function or a structure changes or goes away. */
#define LMHT_ABI_VERSION 1

/* LMHT_ABI_VERSION of the library that is linked. */
LMHT_API uint32_t lmht_abi_version(void);
/* Version of the library, such as "0.1.0". */
LMHT_API const char* lmht_version(void);
/* Newest version of `.lmhtf` files that the library reads; it reads all earlier ones. */
LMHT_API uint32_t lmht_file_version(void);

/* ------------------------------------------------------------------------------------ errors */

typedef int32_t lmht_status;
enum {
    LMHT_OK = 0,
    LMHT_NONE = 1,              /* no error: there is nothing left, or nothing yet */
    LMHT_INVALID_ARGUMENT = -1, /* a null pointer, a value or a count that is out of range */
    LMHT_INVALID_FILE = -2,     /* a file that is damaged or does not describe a valid network */
    LMHT_UNSUPPORTED = -3,      /* another version, a format or an instruction set not available */
    LMHT_IO_ERROR = -4,         /* a file that is missing or cannot be read */
    LMHT_INVALID_EVENT = -5,    /* an event outside of the sensor, or out of order */
    LMHT_OUT_OF_MEMORY = -6,
    LMHT_INTERNAL_ERROR = -7
};

/* Message of the last error of this thread; "" before the first. Valid until the next error. */
LMHT_API const char* lmht_error_message(void);

/* ---------------------------------------------------------------------------------- networks */

typedef struct lmht_network lmht_network;

/* How recordings are cut into windows of T_in time-steps. */
enum {
    LMHT_BY_NONE = 0,      /* not stated */
    LMHT_BY_RECORDING = 1, /* one window per recording */
    LMHT_BY_TIME = 2,      /* `length` microseconds */
    LMHT_BY_EVENTS = 3     /* `length` events */
};
typedef struct lmht_window_rule {
    int32_t by;     /* LMHT_BY_... */
    int32_t hop;    /* time-steps between the starts of two windows, 1 to T_in; 0 for T_in */
    int64_t length; /* of a window, a multiple of T_in; 0 by recording */
} lmht_window_rule;

/* What the integers of an input are. */
enum { LMHT_EVENTS = 0, LMHT_IMAGE = 1 };

typedef struct lmht_network_info {
    int32_t channels, height, width; /* of the input; a flat input has N channels of one pixel */
    int32_t steps;                   /* T_in, time-steps of a window */
    int32_t min_count, max_count;    /* range of the integers of a window */
    int32_t kind;                    /* LMHT_EVENTS or LMHT_IMAGE */
    int32_t classes;                 /* K, number of logits */
    int32_t layers;                  /* all layers, the input and the read-out included */
    int32_t neuron_layers;           /* layers of neurons: columns of `spikes` */
    int32_t synaptic_layers;         /* layers with synapses: columns of `sops` */
    int32_t reserved;
    double scale;            /* real value of one unit of a logit */
    double min_margin;       /* smallest margin of an answer that is a class */
    uint64_t weight_bytes;   /* of packed weights and neuron parameters */
    lmht_window_rule window; /* how the network was trained */
} lmht_network_info;

enum {
    LMHT_LAYER_INPUT = 0,
    LMHT_LAYER_NEURONS = 1,
    LMHT_LAYER_SUM_POOL = 2,
    LMHT_LAYER_MAX_POOL = 3,
    LMHT_LAYER_FLATTEN = 4,
    LMHT_LAYER_READOUT = 5
};
typedef struct lmht_layer_info {
    const char* name;                /* UTF-8 */
    int32_t type;                    /* LMHT_LAYER_... */
    int32_t channels, height, width; /* of its output; a flat layer has one pixel */
    int32_t steps;                   /* of its output, sub-steps included; 1 for the read-out */
    int32_t levels;                  /* L, largest k per step; 0 for a layer without neurons */
    int32_t spikes;                  /* its column of `spikes` and `events`; -1 without neurons */
    int32_t sops; /* its column of `sops` and `event_sops`; -1 without synapses */
    int64_t macs; /* multiply-accumulates per window; 0 if it reads no pixels */
} lmht_layer_info;

/* Names of the instruction sets that this CPU can use, the fastest first; NULL behind the last. */
LMHT_API const char* lmht_isa(size_t index);

/* Reads a `.lmhtf` file and packs its weights. `isa`: one of lmht_isa(), or NULL for the
 * environment variable LMHT_ISA or, where it is not set, the fastest. */
LMHT_API lmht_status lmht_network_open(const char* path, const char* isa, lmht_network** network);
/* The same for the content of a file. The bytes are not needed afterwards. */
LMHT_API lmht_status lmht_network_read(const void* bytes, size_t size, const char* isa,
                                       lmht_network** network);
LMHT_API void lmht_network_free(lmht_network* network);

LMHT_API lmht_status lmht_network_get_info(const lmht_network* network, lmht_network_info* info);
/* Layer `index`, 0 to layers - 1. */
LMHT_API lmht_status lmht_network_get_layer(const lmht_network* network, int32_t index,
                                            lmht_layer_info* info);
/* Name of a class, UTF-8; NULL if the network does not name its classes. */
LMHT_API const char* lmht_network_class_name(const lmht_network* network, int32_t index);
/* Provenance: a JSON object of texts. */
LMHT_API const char* lmht_network_metadata(const lmht_network* network);
/* Name of the instruction set in use. */
LMHT_API const char* lmht_network_isa(const lmht_network* network);

/* ----------------------------------------------------------------------------------- results */

/* The integers of a run of B windows. It can be used for any number of runs of any network. */
typedef struct lmht_result lmht_result;

LMHT_API lmht_status lmht_result_create(lmht_result** result);
LMHT_API void lmht_result_free(lmht_result* result);

/* Number of windows of the last run; 0 before the first. */
LMHT_API size_t lmht_result_windows(const lmht_result* result);
/* [B][classes] */
LMHT_API const int64_t* lmht_result_logits(const lmht_result* result);
/* Spikes by layer, sum of k: [B][neuron_layers] */
LMHT_API const int64_t* lmht_result_spikes(const lmht_result* result);
/* Graded spikes by layer, where k > 0 counts once: [B][neuron_layers] */
LMHT_API const int64_t* lmht_result_events(const lmht_result* result);
/* Synaptic operations by layer: [B][synaptic_layers] */
LMHT_API const int64_t* lmht_result_sops(const lmht_result* result);
/* Synaptic operations of graded spikes, where k > 0 counts once: [B][synaptic_layers] */
LMHT_API const int64_t* lmht_result_event_sops(const lmht_result* result);
/* Spikes k of the layer of neurons with column `neurons` of `spikes`: [B][steps][C][H][W]. NULL
 * if the run was without LMHT_TRACE, or there is no such layer. */
LMHT_API const int32_t* lmht_result_trace(const lmht_result* result, int32_t neurons);
/* Class of the largest logit of a window, the lowest of equal ones; -1 if there is no such window.
 */
LMHT_API int32_t lmht_result_answer(const lmht_result* result, size_t window);
/* Wall time of the run. */
LMHT_API double lmht_result_seconds(const lmht_result* result);

/* ----------------------------------------------------------------------------------- engines */

typedef struct lmht_engine lmht_engine;

/* Options of a run, added. */
enum { LMHT_TRACE = 1 }; /* keep the spikes of every layer */

/* Allocates the buffers and starts `threads` - 1 threads, 1 to 1024. */
LMHT_API lmht_status lmht_engine_create(lmht_network* network, int32_t threads,
                                        lmht_engine** engine);
LMHT_API void lmht_engine_free(lmht_engine* engine);

/* Runs `count` windows, [count][steps][channels][height][width]. */
LMHT_API lmht_status lmht_engine_run(lmht_engine* engine, const int32_t* windows, size_t count,
                                     uint32_t options, lmht_result* result);

/* One event in a window: it adds 1 to the count of a place. */
typedef struct lmht_place {
    int32_t step, channel, y, x;
} lmht_place;

/* Adds events to the window in progress. After an error no event of the call is added. */
LMHT_API lmht_status lmht_engine_push(lmht_engine* engine, const lmht_place* events, size_t count);
/* Runs the window in progress, and begins an empty one. */
LMHT_API lmht_status lmht_engine_finish(lmht_engine* engine, uint32_t options, lmht_result* result);
/* Discards the events of the window in progress. */
LMHT_API lmht_status lmht_engine_reset(lmht_engine* engine);
/* Bytes of all buffers. */
LMHT_API uint64_t lmht_engine_buffer_bytes(const lmht_engine* engine);

/* ---------------------------------------------------------------------------------- steppers */

/* Runs a window while it happens: each time-step runs through all layers before the next one is
 * there, and the potentials stay. When the last time-step comes, one step is left to compute. The
 * network must be one in which no time-step depends on a later one: the T-GIM of every layer is a
 * multiple of the identity. */
typedef struct lmht_stepper lmht_stepper;

/* Reads a `.lmhtf` file as lmht_network_open does, and starts `threads` - 1 threads, 1 to 1024. The
 * stepper has weights of its own, for one time-step. LMHT_UNSUPPORTED if a time-step of the network
 * depends on a later one. */
LMHT_API lmht_status lmht_stepper_open(const char* path, const char* isa, int32_t threads,
                                       lmht_stepper** stepper);
/* The same for the content of a file. The bytes are not needed afterwards. */
LMHT_API lmht_status lmht_stepper_read(const void* bytes, size_t size, const char* isa,
                                       int32_t threads, lmht_stepper** stepper);
LMHT_API void lmht_stepper_free(lmht_stepper* stepper);

/* Runs the next time-step, [channels][height][width]. The result is what it adds to that of the
 * window. LMHT_INVALID_ARGUMENT if the window has all its time-steps. A second caller waits. */
LMHT_API lmht_status lmht_stepper_step(lmht_stepper* stepper, const int32_t* counts,
                                       uint32_t options, lmht_result* result);
/* Number of time-steps of the window in progress that have run. */
LMHT_API int32_t lmht_stepper_steps(const lmht_stepper* stepper);
/* The result of the time-steps so far, without traces, and begins a window. Its time is the sum of
 * theirs. LMHT_INVALID_ARGUMENT if none has run. */
LMHT_API lmht_status lmht_stepper_finish(lmht_stepper* stepper, lmht_result* result);
/* Discards the time-steps of the window in progress. */
LMHT_API lmht_status lmht_stepper_reset(lmht_stepper* stepper);

/* -------------------------------------------------------------------------------- recordings */

/* Time in microseconds, column and row from the top left, and polarity: 0 OFF, 1 ON. */
typedef struct lmht_event {
    int64_t t;
    uint16_t x, y;
    uint8_t p;
    uint8_t reserved[3];
} lmht_event;

/* A file of events, which the suffix of its name describes:
 *
 *     .aedat4, .aedat   AEDAT 4 and 3.1; AEDAT 2.0 of a DVS128, a DAVIS or a
 *                       DVS640
 *     .raw, .dat        Prophesee EVT2, EVT2.1 and EVT3; DAT of the types "cd" and "2d"
 *     .es               Event Stream 2, DVS and ATIS
 *     .bin              N-MNIST and N-Caltech101
 */
typedef struct lmht_recording lmht_recording;

/* `width` and `height` of the sensor: 0 for those that the file states. A file that does not state
 * them needs them. A given size must not be smaller than that of the file. `track`: the number
 * or the name of a track of a file with several tracks of events; NULL for the only one. */
LMHT_API lmht_status lmht_recording_open(const char* path, int32_t width, int32_t height,
                                         const char* track, lmht_recording** recording);
/* The same for the content of a file that is called `name`. The bytes are not copied: they must
 * stay until the recording is freed. */
LMHT_API lmht_status lmht_recording_read(const void* bytes, size_t size, const char* name,
                                         int32_t width, int32_t height, const char* track,
                                         lmht_recording** recording);
LMHT_API void lmht_recording_free(lmht_recording* recording);

/* Size of the sensor. */
LMHT_API int32_t lmht_recording_width(const lmht_recording* recording);
LMHT_API int32_t lmht_recording_height(const lmht_recording* recording);
/* Writes the next events, up to `capacity`, and their number. LMHT_NONE at the end. The events are
 * those of the file: a stream validates them. */
LMHT_API lmht_status lmht_recording_next(lmht_recording* recording, lmht_event* events,
                                         size_t capacity, size_t* count);

/* ----------------------------------------------------------------------------------- streams */

/* Cuts events into windows and classifies each, as `lmht stream` does. */
typedef struct lmht_stream lmht_stream;

typedef struct lmht_stream_options {
    lmht_window_rule window; /* default: that of the network */
    int32_t threads;         /* default: 1 */
    int32_t drop;            /* 1: drop and count events that are not valid; default: 0, an error */
    int32_t smooth;          /* number of windows whose logits are averaged; default: 1 */
    uint32_t run;            /* options of a run; default: 0 */
    int64_t max_gap;         /* us without an event after which empty windows are skipped, and with
                                `drop` events are held until the next call; default: 10 s */
    double min_margin;       /* answer -1 below this margin; negative: that of the network, the
                                default */
} lmht_stream_options;

/* Writes the defaults. */
LMHT_API lmht_status lmht_stream_options_init(lmht_stream_options* options);

/* `width` and `height` of the sensor: at least those of the network's input, whose pixels sum the
 * pixels of the sensor. `options`: NULL for the defaults. */
LMHT_API lmht_status lmht_stream_create(lmht_network* network, int32_t width, int32_t height,
                                        const lmht_stream_options* options, lmht_stream** stream);
LMHT_API void lmht_stream_free(lmht_stream* stream);

/* Adds events, in order of time. The valid events before an invalid one are added. */
LMHT_API lmht_status lmht_stream_push(lmht_stream* stream, const lmht_event* events, size_t count);
/* Ends the windows by time that end at time `t` (us) or before, without a later event. Events
 * before `t` that come later are not counted. */
LMHT_API lmht_status lmht_stream_elapse(lmht_stream* stream, int64_t t);
/* Ends the stream: the last window is completed by empty time-steps. */
LMHT_API lmht_status lmht_stream_finish(lmht_stream* stream);

typedef struct lmht_decision {
    int64_t window;     /* index of the window, from 0 */
    int64_t start;      /* us from the first event */
    int64_t time;       /* end of the window in us of the source */
    int32_t label;      /* class of the largest logit; -1 if the margin is too small */
    int32_t incomplete; /* 1 if the stream ended before the window did */
    double margin;      /* difference of the two largest logits, real value */
    int64_t events;     /* in the window */
    int64_t lost;       /* events above the input range of the network */
    int64_t spikes;     /* of all layers */
    int64_t sops;       /* of all layers */
    double seconds;     /* that the engine took */
} lmht_decision;

/* Runs the next complete window. LMHT_NONE if it needs more events. */
LMHT_API lmht_status lmht_stream_next(lmht_stream* stream, lmht_decision* decision);
/* All integers of the window of the last decision; B = 1. It belongs to the stream. */
LMHT_API const lmht_result* lmht_stream_result(const lmht_stream* stream);
/* The counts of the window of the last decision, [steps][2][height][width] of the input, before
 * they are limited to its range. It belongs to the stream. */
LMHT_API const int64_t* lmht_stream_counts(const lmht_stream* stream);

typedef struct lmht_stream_losses {
    int64_t outside;  /* events that were dropped: outside of the sensor, or beyond 2^62 us */
    int64_t polarity; /* neither 0 nor 1 */
    int64_t order;    /* earlier than an event before, or a jump that later events contradict */
    int64_t late;     /* events after the end of their time-step, see lmht_stream_elapse */
    int64_t skipped;  /* windows without any event that were skipped */
} lmht_stream_losses;

LMHT_API lmht_status lmht_stream_get_losses(const lmht_stream* stream, lmht_stream_losses* losses);

#ifdef __cplusplus
}
#endif

#endif
