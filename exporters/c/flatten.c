/* ------------------------------------------------------------------------------------ flatten */

/* (C, H, W) to C * H * W channels, in that order. */
static void run_flatten(const tensor* source, const tensor* output) {
    clear(output);
    for (int32_t step = 0; step < source->steps; ++step)
        for (int32_t y = 0; y < source->height; ++y)
            for (int32_t x = 0; x < source->width; ++x)
                for (int32_t c = 0; c < source->channels; ++c)
                    put(output, pixel_at(output, step, 0, 0),
                        (c * source->height + y) * source->width + x,
                        get(source, pixel_at(source, step, y, x), c));
}
