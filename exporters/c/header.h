/*
{summary}
 *
 * Example:
 *
 *     lmht_result result;
 *     lmht_clear();                             // once, before the first event
 *     lmht_push(step, channel, y, x, 1);        // for each event; returns 0
 *     lmht_finish(&result);                     // answers, and clears the window
 *
 * One window is in progress at a time. The functions are not reentrant.
 */
#ifndef {guard}
#define {guard}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

enum {{
    LMHT_STEPS = {steps}, /* time-steps of a window */
    LMHT_CHANNELS = {channels},
    LMHT_HEIGHT = {height},
    LMHT_WIDTH = {width},
    LMHT_MIN_COUNT = {min_count}, /* of events per time-step, channel and pixel */
    LMHT_MAX_COUNT = {max_count},
    LMHT_LAYERS = {layers}, /* layers of neurons */
    LMHT_CLASSES = {classes}
}};

/* The real value of one unit of a logit. */
#define LMHT_SCALE {scale}

typedef struct {{
    int64_t logits[LMHT_CLASSES];
    int32_t answer;                 /* class of the largest logit; the lowest of equal ones */
    uint64_t spikes[{sums}];             /* by layer of neurons */
    uint64_t sops[LMHT_LAYERS + 1]; /* synaptic operations by layer; the read-out is the last */
}} lmht_result;

/* Empties the window in progress. */
void lmht_clear(void);

/* Adds `count` events to a place of the window in progress. Returns -1, and adds nothing, if the
 * place lies outside of the window, or if its count would lie above LMHT_MAX_COUNT, or below both 0
 * and LMHT_MIN_COUNT. */
int lmht_push(int32_t step, int32_t channel, int32_t y, int32_t x, int32_t count);

/* Runs the window in progress, and empties it. Returns -1, and does nothing, if a count lies below
 * LMHT_MIN_COUNT: only where that is above 0. */
int lmht_finish(lmht_result* result);

/* Runs a whole window, [steps][channels][height][width], instead of the one in progress, which is
 * lost. Returns -1, and runs nothing, if a count lies outside of its range. */
int lmht_run(const int32_t* counts, lmht_result* result);

#ifdef __cplusplus
}}
#endif

#endif
