/* Runs the windows of vectors.h through an exported network, by lmht_run and event by event. The
 * exit status is 0, or the number of the first window whose integers differ. Needs no C library. */
#include "net.h"
#include "vectors.h"

static int equals(const lmht_result* found, const int64_t* expected) {
    int equal = found->answer == *expected++;
    for (int32_t i = 0; i < LMHT_CLASSES; ++i) equal &= found->logits[i] == *expected++;
    for (int32_t i = 0; i < LMHT_LAYERS; ++i) equal &= found->spikes[i] == (uint64_t)*expected++;
    for (int32_t i = 0; i <= LMHT_LAYERS; ++i) equal &= found->sops[i] == (uint64_t)*expected++;
    return equal;
}

/* Pushes a window in an order of its own, in two parts where a count allows it. */
static int push(const int32_t* counts) {
    int failed = 0;
    for (int32_t x = LMHT_WIDTH - 1; x >= 0; --x)
        for (int32_t step = 0; step < LMHT_STEPS; ++step)
            for (int32_t c = 0; c < LMHT_CHANNELS; ++c)
                for (int32_t y = 0; y < LMHT_HEIGHT; ++y) {
                    const int32_t row = (step * LMHT_CHANNELS + c) * LMHT_HEIGHT + y;
                    const int32_t count = counts[row * LMHT_WIDTH + x], part = count / 2;
                    failed |= lmht_push(step, c, y, x, part);
                    failed |= lmht_push(step, c, y, x, count - part);
                }
    return failed;
}

int main(void) {
    static lmht_result result;
    for (int32_t i = 0; i < WINDOWS; ++i) {
        if (lmht_run(windows[i], &result) || !equals(&result, expected[i])) return i + 1;
        if (push(windows[i]) || lmht_finish(&result)) return i + 1;
        if (!equals(&result, expected[i])) return i + 1;
    }
    return 0;
}

#ifdef FREESTANDING /* what the C library would bring; Linux takes the exit status */
void* memset(void* to, int value, __SIZE_TYPE__ n);
void* memcpy(void* to, const void* from, __SIZE_TYPE__ n);

void* memset(void* to, int value, __SIZE_TYPE__ n) {
    volatile unsigned char* at = to;
    while (n--) *at++ = (unsigned char)value;
    return to;
}

void* memcpy(void* to, const void* from, __SIZE_TYPE__ n) {
    volatile unsigned char* at = to;
    const unsigned char* source = from;
    while (n--) *at++ = *source++;
    return to;
}

#if defined(__arm__)
int raise(int signal); /* called by a division by 0 of the compiler's library */

int raise(int signal) {
    return signal;
}

__asm__(".globl _start\n.type _start, %function\n_start:\n bl main\n movs r7, #1\n svc 0\n");
#if !defined(__thumb2__) /* Cortex-M0 divides and multiplies 64 bits by functions */
int64_t __aeabi_lmul(int64_t a, int64_t b);
uint64_t __aeabi_idivmod(int32_t a, int32_t b);
int32_t __aeabi_idiv(int32_t a, int32_t b);

int64_t __aeabi_lmul(int64_t a, int64_t b) {
    uint64_t product = 0, factor = (uint64_t)a, bits = (uint64_t)b;
    for (; bits; bits >>= 1, factor += factor)
        if (bits & 1) product += factor;
    return (int64_t)product;
}

/* The quotient is in the lower half, the remainder in the upper one. */
uint64_t __aeabi_idivmod(int32_t a, int32_t b) {
    const uint32_t n = a < 0 ? 0u - (uint32_t)a : (uint32_t)a,
                   d = b < 0 ? 0u - (uint32_t)b : (uint32_t)b;
    uint32_t quotient = 0, rest = 0;
    for (int bit = 31; bit >= 0; --bit) {
        rest = rest << 1 | (n >> bit & 1);
        if (rest >= d) rest -= d, quotient |= (uint32_t)1 << bit;
    }
    if ((a < 0) != (b < 0)) quotient = 0u - quotient;
    if (a < 0) rest = 0u - rest;
    return (uint64_t)rest << 32 | quotient;
}

int32_t __aeabi_idiv(int32_t a, int32_t b) {
    return (int32_t)__aeabi_idivmod(a, b);
}
#endif
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n bl main\n mov x8, #93\n svc 0\n");
#elif defined(__riscv)
__asm__(".globl _start\n_start:\n call main\n li a7, 93\n ecall\n");
#endif
#endif
