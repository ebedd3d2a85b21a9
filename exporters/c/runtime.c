/* ------------------------------------------------------------------------------------------------
 * What every network needs. All memory is static; no function calls itself.
 * --------------------------------------------------------------------------------------------- */

/* How the counts k of a layer are stored, channels last. */
enum { BITS, BYTES, SHORTS, WORDS };

/* The output of a layer, [steps][height][width][channels], in `memory`. */
typedef struct {
    uint32_t at;      /* its first byte */
    int32_t steps;    /* time-steps times sub-steps */
    int32_t substeps; /* per time-step */
    int32_t channels, height, width;
    int32_t pixel_bytes; /* from pixel to pixel */
    int32_t format;
} tensor;

/* A convolution; linear layers and shortcuts are convolutions, too. The current that a count k adds
 * to an output channel is k * weight * scale. */
typedef struct {
    const tensor* source;
    const int8_t* weights; /* [kernel_y][kernel_x][channels of the source][fan_out] */
    int32_t fan_out;       /* output channels that one input channel reaches */
    int32_t groups, group; /* number of groups, and input channels per group */
    int32_t kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
    int32_t scale;   /* a power of two */
    int32_t counted; /* 0: the source holds pixels, which cause no synaptic operation */
} synapse;

/* What k spikes do to the potential v. */
enum {
    SUBTRACT,      /* v - k * threshold */
    SUBTRACT_LATE, /* the same at the next step, after the leak */
    ZERO           /* 0 where k > 0 */
};

/* LM-HT neurons, or (without `output`) the read-out. */
typedef struct {
    const synapse* synapses;
    int32_t n_synapses;
    int32_t channels;
    int32_t blocks;      /* currents X[j] per neuron; 1 where only their sum matters */
    const int32_t* bias; /* [channels], of all steps that a block sums */
    const tensor* output;
    const int32_t *threshold, *v0; /* [channels] */
    const int32_t* omega;          /* the T-GIM, [steps of the output][blocks] */
    const int32_t* floor;          /* [channels], lower bound of the potential; 0 for none */
    int32_t leak;                  /* 4096: none */
    int32_t levels;
    int32_t reset;
} layer;

static uint8_t memory[MEMORY_BYTES];
static int32_t currents[CURRENTS]; /* X of one pixel: [blocks][channels] */

static uint32_t pixel_at(const tensor* of, int32_t step, int32_t y, int32_t x) {
    const int32_t pixel = (step * of->height + y) * of->width + x;
    return of->at + (uint32_t)pixel * (uint32_t)of->pixel_bytes;
}

/* The count of channel c of the pixel whose first byte is `at`. */
static int32_t get(const tensor* of, uint32_t at, int32_t c) {
    if (of->format == BITS) return memory[at + (uint32_t)c / 8] >> (c % 8) & 1;
    if (of->format == BYTES) return memory[at + (uint32_t)c];
    const uint32_t size = of->format == SHORTS ? 2 : 4;
    uint32_t value = 0;
    at += (uint32_t)c * size;
    for (uint32_t i = 0; i < size; ++i) value |= (uint32_t)memory[at + i] << (8 * i);
    const uint32_t sign = (uint32_t)1 << (8 * size - 1);
    return value < sign ? (int32_t)value : -(int32_t)(sign - (value - sign) - 1) - 1;
}

static void put(const tensor* of, uint32_t at, int32_t c, int32_t value) {
    if (of->format == BITS) {
        const uint8_t bit = (uint8_t)(1 << (c % 8));
        at += (uint32_t)c / 8;
        memory[at] = (uint8_t)(value ? memory[at] | bit : memory[at] & ~bit);
    } else if (of->format == BYTES) {
        memory[at + (uint32_t)c] = (uint8_t)value;
    } else {
        const uint32_t size = of->format == SHORTS ? 2 : 4;
        at += (uint32_t)c * size;
        for (uint32_t i = 0; i < size; ++i) memory[at + i] = (uint8_t)((uint32_t)value >> (8 * i));
    }
}

static uint32_t bytes_of(const tensor* of) {
    return (uint32_t)(of->steps * of->height * of->width) * (uint32_t)of->pixel_bytes;
}

static void clear(const tensor* what) {
    const uint32_t end = what->at + bytes_of(what);
    for (uint32_t at = what->at; at < end; ++at) memory[at] = 0;
}

/* ----------------------------------------------------------------------------------- currents */

/* Most of the time is spent here: a synaptic operation, or k of them, per weight. */
static void add_row(int32_t* restrict sums, const int8_t* restrict weights, int32_t n,
                    int32_t factor) {
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        sums[i] += factor * weights[i];
        sums[i + 1] += factor * weights[i + 1];
        sums[i + 2] += factor * weights[i + 2];
        sums[i + 3] += factor * weights[i + 3];
    }
    for (; i < n; ++i) sums[i] += factor * weights[i];
}

/* Adds what count k of input channel c contributes to one output pixel. */
static void add_count(const synapse* from, int32_t c, int32_t k, const int8_t* weights,
                      int32_t* sums) {
    const int32_t first = from->groups == 1 ? 0 : c / from->group * from->fan_out;
    add_row(sums + first, weights + c * from->fan_out, from->fan_out, k * from->scale);
}

/* Adds what the active channels of one input pixel contribute to one output pixel. Returns the sum
 * of their counts. */
static int32_t add_pixel(const synapse* from, uint32_t at, const int8_t* weights, int32_t* sums) {
    const tensor* const source = from->source;
    const uint8_t* const bytes = memory + at;
    int32_t spikes = 0;
    for (int32_t c = 0; c < source->channels; ++c) {
        int32_t k;
        if (source->format == BYTES) {
            k = bytes[c];
        } else if (source->format != BITS) {
            k = get(source, at, c);
        } else if (c % 8 == 0 && bytes[c / 8] == 0) {
            c += 7; /* with ++c: eight silent channels */
            continue;
        } else {
            k = bytes[c / 8] >> (c % 8) & 1;
        }
        if (k == 0) continue;
        add_count(from, c, k, weights, sums);
        spikes += k;
    }
    return spikes;
}

/* Adds what one synapse contributes to one output pixel, at all steps. Returns the synaptic
 * operations. */
static uint64_t add_synapse(const layer* to, const synapse* from, int32_t y, int32_t x) {
    const tensor* const source = from->source;
    const int32_t tap_weights = source->channels * from->fan_out;
    uint64_t sops = 0;
    for (int32_t step = 0; step < source->steps; ++step) {
        const int32_t block = to->blocks == 1 ? 0 : step / source->substeps;
        for (int32_t tap = 0; tap < from->kernel_y * from->kernel_x; ++tap) {
            const int32_t ky = tap / from->kernel_x, kx = tap % from->kernel_x;
            const int32_t iy = y * from->stride_y - from->padding_y + ky * from->dilation_y;
            const int32_t ix = x * from->stride_x - from->padding_x + kx * from->dilation_x;
            if (iy < 0 || iy >= source->height || ix < 0 || ix >= source->width) continue;
            const int32_t spikes =
                add_pixel(from, pixel_at(source, step, iy, ix), from->weights + tap * tap_weights,
                          currents + block * to->channels);
            if (from->counted) sops += (uint64_t)spikes * (uint64_t)from->fan_out;
        }
    }
    return sops;
}

static uint64_t add_synapses(const layer* to, int32_t y, int32_t x) {
    uint64_t sops = 0;
    for (int32_t block = 0; block < to->blocks; ++block)
        for (int32_t c = 0; c < to->channels; ++c) currents[block * to->channels + c] = to->bias[c];
    for (int32_t i = 0; i < to->n_synapses; ++i) sops += add_synapse(to, &to->synapses[i], y, x);
    return sops;
}

/* ----------------------------------------------------------------------------------- read-out */

static void run_readout(const layer* of, int64_t* logits, uint64_t* sops) {
    *sops = add_synapses(of, 0, 0);
    for (int32_t c = 0; c < of->channels; ++c) {
        logits[c] = 0;
        for (int32_t block = 0; block < of->blocks; ++block)
            logits[c] += currents[block * of->channels + c];
    }
}
