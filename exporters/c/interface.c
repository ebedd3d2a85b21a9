/* ------------------------------------------------------------------------------------------------
 * The functions of the header.
 * --------------------------------------------------------------------------------------------- */

void lmht_clear(void) {
    clear(&input);
}

int lmht_push(int32_t step, int32_t channel, int32_t y, int32_t x, int32_t count) {
    if (step < 0 || step >= input.steps || channel < 0 || channel >= input.channels) return -1;
    if (y < 0 || y >= input.height || x < 0 || x >= input.width) return -1;
    const uint32_t at = pixel_at(&input, step, y, x);
    const int32_t before = get(&input, at, channel);
    const int32_t least = LMHT_MIN_COUNT < 0 ? LMHT_MIN_COUNT : 0;
    if (count < least - before || count > LMHT_MAX_COUNT - before) return -1;
    put(&input, at, channel, before + count);
    return 0;
}

/* Whether no count lies below LMHT_MIN_COUNT; those of an empty window are 0. */
static int complete(void) {
    for (int32_t step = 0; step < input.steps; ++step)
        for (int32_t y = 0; y < input.height; ++y)
            for (int32_t x = 0; x < input.width; ++x)
                for (int32_t c = 0; c < input.channels; ++c)
                    if (get(&input, pixel_at(&input, step, y, x), c) < LMHT_MIN_COUNT) return 0;
    return 1;
}

int lmht_finish(lmht_result* result) {
    if (LMHT_MIN_COUNT > 0 && !complete()) return -1;
    run_layers(result);
    result->answer = 0;
    for (int32_t c = 1; c < LMHT_CLASSES; ++c)
        if (result->logits[c] > result->logits[result->answer]) result->answer = c;
    lmht_clear();
    return 0;
}

/* Pushes a whole window; -1 if a count lies outside of its range. */
static int fill(const int32_t* counts) {
    for (int32_t step = 0; step < input.steps; ++step)
        for (int32_t c = 0; c < input.channels; ++c)
            for (int32_t y = 0; y < input.height; ++y)
                for (int32_t x = 0; x < input.width; ++x)
                    if (lmht_push(step, c, y, x, *counts++)) return -1;
    return 0;
}

int lmht_run(const int32_t* counts, lmht_result* result) {
    lmht_clear();
    if (!fill(counts) && !lmht_finish(result)) return 0;
    lmht_clear();
    return -1;
}
