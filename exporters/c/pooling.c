/* ------------------------------------------------------------------------------------ pooling */

typedef struct {
    const tensor *source, *output;
    int32_t kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x;
    int32_t maximum; /* 0: the sum */
} pooling;

static int32_t pool(const pooling* of, int32_t step, int32_t y, int32_t x, int32_t c) {
    const tensor* const source = of->source;
    int32_t result = 0, found = 0;
    for (int32_t ky = 0; ky < of->kernel_y; ++ky)
        for (int32_t kx = 0; kx < of->kernel_x; ++kx) {
            const int32_t iy = y * of->stride_y - of->padding_y + ky;
            const int32_t ix = x * of->stride_x - of->padding_x + kx;
            if (iy < 0 || iy >= source->height || ix < 0 || ix >= source->width) continue;
            const int32_t k = get(source, pixel_at(source, step, iy, ix), c);
            if (!of->maximum)
                result += k;
            else if (!found || k > result)
                result = k;
            found = 1;
        }
    return result;
}

static void run_pooling(const pooling* of) {
    const tensor* const output = of->output;
    clear(output);
    for (int32_t step = 0; step < output->steps; ++step)
        for (int32_t y = 0; y < output->height; ++y)
            for (int32_t x = 0; x < output->width; ++x)
                for (int32_t c = 0; c < output->channels; ++c)
                    put(output, pixel_at(output, step, y, x), c, pool(of, step, y, x, c));
}
