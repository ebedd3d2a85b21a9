/* ------------------------------------------------------------------------------------ neurons */

/* k = clip(v // theta, 0, levels) */
static int32_t count_of(int32_t v, int32_t theta, int32_t levels) {
    if (v < theta) return 0;
    if (levels == 1) return 1;
    return v / theta < levels ? v / theta : levels;
}

/* The input I of neuron c: one row of the T-GIM times the currents of its channel. */
static int32_t mix(const layer* of, const int32_t* omega, int32_t c) {
    const int32_t* current = currents + c;
    int32_t sum = 0;
    for (int32_t block = 0; block < of->blocks; ++block, current += of->channels)
        sum += omega[block] * *current;
    return sum;
}

/* Fires one neuron at every step. Returns the sum of its counts. */
static int32_t fire(const layer* of, int32_t y, int32_t x, int32_t c) {
    const tensor* const output = of->output;
    const int32_t theta = of->threshold[c];
    int32_t v = of->v0[c], late = 0, spikes = 0; /* late: what is subtracted after the leak */
    if (of->reset == SUBTRACT_LATE) late = count_of(v, theta, of->levels) * theta;
    for (int32_t step = 0; step < output->steps; ++step) {
        if (of->leak != 4096 && step % output->substeps == 0)
            v = (int32_t)((int64_t)v * of->leak / 4096);
        v = v - late + mix(of, of->omega + step * of->blocks, c);
        if (of->floor && v < of->floor[c]) v = of->floor[c];
        const int32_t k = count_of(v, theta, of->levels);
        late = of->reset == SUBTRACT_LATE ? k * theta : 0;
        if (k == 0) continue;
        if (of->reset == SUBTRACT) v -= k * theta;
        if (of->reset == ZERO) v = 0;
        put(output, pixel_at(output, step, y, x), c, k);
        spikes += k;
    }
    return spikes;
}

static void run_neurons(const layer* of, uint64_t* spikes, uint64_t* sops) {
    clear(of->output);
    *spikes = *sops = 0;
    for (int32_t y = 0; y < of->output->height; ++y)
        for (int32_t x = 0; x < of->output->width; ++x) {
            *sops += add_synapses(of, y, x);
            for (int32_t c = 0; c < of->channels; ++c) *spikes += (uint64_t)fire(of, y, x, c);
        }
}
