/* Classifies one window on a Cortex-M4 without an operating system, and prints the class. */
#include "net.h"
#include "window.h"

/* Semihosting: the emulator, or a debugger, does what `operation` says. */
static uint32_t semihost(uint32_t operation, const void* argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void* r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void print(const char* text) {
    semihost(0x04, text); /* SYS_WRITE0 */
}

static void print_number(uint32_t value) {
    char text[11];
    int at = sizeof text - 1;
    text[at] = 0;
    do text[--at] = (char)('0' + value % 10);
    while (value /= 10);
    print(text + at);
}

/* The timer of the core counts down once per 40 ns. With `-icount shift=0`, QEMU lets an
 * instruction take 1 ns. */
#define TIMER ((volatile uint32_t*)0xe000e010)
enum { CONTROL, RELOAD, NOW, LARGEST = 0xffffff, INSTRUCTIONS_PER_TICK = 40 };

int main(void) {
    static lmht_result result;
    TIMER[RELOAD] = TIMER[NOW] = LARGEST;
    TIMER[CONTROL] = 5; /* on, by the clock of the core */
    lmht_clear();
    for (int i = 0; i < EVENTS; ++i) {
        const event* e = &events[i];
        if (lmht_push(e->step, e->channel, e->y, e->x, e->count)) print("an event was refused\n");
    }
    lmht_finish(&result);
    const uint32_t ticks = LARGEST - TIMER[NOW];
    uint32_t spikes = 0, sops = 0;
    for (int i = 0; i < LMHT_LAYERS; ++i) spikes += (uint32_t)result.spikes[i];
    for (int i = 0; i <= LMHT_LAYERS; ++i) sops += (uint32_t)result.sops[i];
    print("class ");
    print_number((uint32_t)result.answer);
    print(", ");
    print_number(spikes);
    print(" spikes, ");
    print_number(sops);
    print(" SOPs, ");
    print_number(ticks * INSTRUCTIONS_PER_TICK);
    print(" instructions\n");
    return 0;
}

/* ---------------------------------------------------------------------------------------- start */

extern uint32_t stack_top, bss_start, bss_end;

void reset(void);
void reset(void) {
    for (uint32_t* at = &bss_start; at < &bss_end; ++at) *at = 0;
    main();
    semihost(0x18, (const void*)0x20026); /* SYS_EXIT, without an error */
    for (;;) {
    }
}

/* What the processor reads when it starts: the stack pointer and the address of the first code. */
__attribute__((section(".vectors"), used)) static const void* const vectors[] = {
    &stack_top, (const void*)reset};
