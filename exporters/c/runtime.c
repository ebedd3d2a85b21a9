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

/* Rows of weights of one synapse that wait to be added to the same currents. */
typedef struct {
    int32_t at; /* first weight */
    int32_t factor;
} row;
static row rows[ROWS];
static int32_t n_rows;
static int32_t* row_sums; /* the currents to which the rows are added */

/* Most of the time is spent here: a synaptic operation, or k of them, per weight. Eight currents at
 * a time stay in registers. */
static void add_rows(const synapse* from, int32_t* restrict sums) {
    const row* const end = rows + n_rows;
    const int8_t* first = from->weights;
    int32_t i = 0;
    for (; i + 8 <= from->fan_out; i += 8, first += 8) {
        int32_t a = sums[i], b = sums[i + 1], c = sums[i + 2], d = sums[i + 3];
        int32_t e = sums[i + 4], f = sums[i + 5], g = sums[i + 6], h = sums[i + 7];
        for (const row* each = rows; each != end; ++each) {
            const int8_t* const weights = first + each->at;
            const int32_t factor = each->factor;
            a += factor * weights[0];
            b += factor * weights[1];
            c += factor * weights[2];
            d += factor * weights[3];
            e += factor * weights[4];
            f += factor * weights[5];
            g += factor * weights[6];
            h += factor * weights[7];
        }
        sums[i] = a, sums[i + 1] = b, sums[i + 2] = c, sums[i + 3] = d;
        sums[i + 4] = e, sums[i + 5] = f, sums[i + 6] = g, sums[i + 7] = h;
    }
    for (; i < from->fan_out; ++i, ++first)
        for (const row* each = rows; each != end; ++each) sums[i] += each->factor * first[each->at];
    n_rows = 0;
}

/* Notes that count k of input channel c contributes to the currents of one output pixel; add_rows
 * adds it. The weights of this position in the kernel, of all input channels, begin at `tap`. */
static void add_count(const synapse* from, int32_t c, int32_t k, int32_t tap, int32_t* sums) {
    if (from->groups != 1) sums += c / from->group * from->fan_out;
    if (n_rows == ROWS || (n_rows > 0 && sums != row_sums)) add_rows(from, row_sums);
    row_sums = sums;
    rows[n_rows].at = tap + c * from->fan_out;
    rows[n_rows++].factor = k * from->scale;
}

/* Notes what the active channels of one input pixel contribute to one output pixel, by the format
 * of the counts. Returns the sum of the counts k. */
static uint32_t add_bits(const synapse* from, uint32_t at, int32_t tap, int32_t* sums) {
    uint32_t spikes = 0;
    for (int32_t first = 0; first < from->source->channels; first += 8) {
        int32_t c = first;
        for (uint32_t bits = memory[at++]; bits; bits >>= 1, ++c) {
            if (!(bits & 1)) continue;
            add_count(from, c, 1, tap, sums);
            ++spikes;
        }
    }
    return spikes;
}

static uint32_t add_bytes(const synapse* from, uint32_t at, int32_t tap, int32_t* sums) {
    const uint8_t *const counts = memory + at, *const end = counts + from->source->channels;
    uint32_t spikes = 0;
    for (const uint8_t* k = counts; k != end; ++k) {
        if (*k == 0) continue;
        add_count(from, (int32_t)(k - counts), *k, tap, sums);
        spikes += *k;
    }
    return spikes;
}

static uint32_t add_words(const synapse* from, uint32_t at, int32_t tap, int32_t* sums) {
    uint32_t spikes = 0;
    for (int32_t c = 0; c < from->source->channels; ++c) {
        const int32_t k = get(from->source, at, c);
        if (k == 0) continue;
        add_count(from, c, k, tap, sums);
        spikes += (uint32_t)k;
    }
    return spikes;
}

static uint32_t add_pixel(const synapse* from, uint32_t at, int32_t tap, int32_t* sums) {
    if (from->source->format == BITS) return add_bits(from, at, tap, sums);
    if (from->source->format == BYTES) return add_bytes(from, at, tap, sums);
    return add_words(from, at, tap, sums);
}

/* Adds what one time-step or sub-step of the source contributes to one output pixel. Returns the
 * sum of the counts. */
static uint64_t add_step(const synapse* from, int32_t step, int32_t y, int32_t x, int32_t* sums) {
    const tensor* const source = from->source;
    const int32_t tap_weights = source->channels * from->fan_out;
    int32_t tap = 0, iy = y * from->stride_y - from->padding_y;
    uint64_t spikes = 0;
    for (int32_t ky = 0; ky < from->kernel_y; ++ky, iy += from->dilation_y) {
        int32_t ix = x * from->stride_x - from->padding_x;
        for (int32_t kx = 0; kx < from->kernel_x; ++kx, ix += from->dilation_x) {
            if (iy >= 0 && iy < source->height && ix >= 0 && ix < source->width)
                spikes += add_pixel(from, pixel_at(source, step, iy, ix), tap, sums);
            tap += tap_weights;
        }
    }
    return spikes;
}

/* Adds what one synapse contributes to one output pixel, at all steps. Returns the synaptic
 * operations. */
static uint64_t add_synapse(const layer* to, const synapse* from, int32_t y, int32_t x) {
    uint64_t spikes = 0;
    int32_t step = 0;
    for (int32_t block = 0; block < from->source->steps / from->source->substeps; ++block) {
        int32_t* const sums = currents + (to->blocks == 1 ? 0 : block * to->channels);
        for (int32_t i = 0; i < from->source->substeps; ++i, ++step)
            spikes += add_step(from, step, y, x, sums);
    }
    if (n_rows > 0) add_rows(from, row_sums);
    return from->counted ? spikes * (uint64_t)from->fan_out : 0;
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
