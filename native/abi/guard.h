/* The program's own memory, which it may unmap under us: read and written without risk.
 *
 * Two ways, chosen before the first syslet (docs/libsyslet.md): plain instructions whose
 * faults a handler of SIGSEGV and SIGBUS answers, inline, because the processor has
 * forgotten most of our code after each system call; or the kernel copies
 * (process_vm_readv). Also the one system call that a cancellation can interrupt or
 * forestall. Used by the library's own files only; nothing here allocates. */
#ifndef SYSLET_GUARD_H
#define SYSLET_GUARD_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "../engine/flight.h"

/* An instruction that may fault has an entry: where it is, and where to go on after the
 * register that is named `bad` has been set to 1. */
struct guard_entry {
    int32_t at, go_on; /* from the field's own address */
};

#define GUARD_ENTRY(at, go_on)                                                         \
    ".pushsection syslet_guard, \"a\"\n"                                               \
    ".balign 4\n"                                                                      \
    ".long " at " - ., " go_on " - .\n"                                                \
    ".popsection\n"

/* clang-format off */
#if defined(__x86_64__)
#define GUARD_BAD(name) uint64_t name = 0
#define GUARD_BAD_OUT "+c"
#define GUARD_LOAD_3 "1: movq (%[from]), %[a]\n2: movq 8(%[from]), %[b]\n"             \
                     "3: movq 16(%[from]), %[c]\n4:\n"
#define GUARD_FOLLOW "1: movq (%[from],%[i],8), %[word]\n"                             \
                     "   testq %[word], %[word]\n   jz 3f\n"                           \
                     "2: movq (%[word]), %[word]\n"                                    \
                     "   movq %[word], (%[to],%[i],8)\n   incl %k[i]\n"                \
                     "   cmpl %[most], %k[i]\n   jne 1b\n3:\n"
#define GUARD_LOAD "1: movq (%[from]), %[value]\n2:\n"
#define GUARD_STORE "1: movq %[value], (%[to])\n2:\n"
#define GUARD_ADD "1: lock xaddq %[value], (%[to])\n2:\n"
#define GUARD_ADD_ENTRIES GUARD_ENTRY("1b", "2b")
#elif defined(__aarch64__)
#define GUARD_BAD(name) register uint64_t name __asm__("x9") = 0
#define GUARD_BAD_OUT "+r"
#define GUARD_LOAD_3 "1: ldr %[a], [%[from]]\n2: ldr %[b], [%[from], #8]\n"            \
                     "3: ldr %[c], [%[from], #16]\n4:\n"
#define GUARD_FOLLOW "1: ldr %[word], [%[from], %[i], lsl #3]\n"                       \
                     "   cbz %[word], 3f\n"                                            \
                     "2: ldr %[word], [%[word]]\n"                                     \
                     "   str %[word], [%[to], %[i], lsl #3]\n"                         \
                     "   add %[i], %[i], #1\n   cmp %[i], %[most]\n   b.ne 1b\n3:\n"
#define GUARD_LOAD "1: ldr %[value], [%[from]]\n2:\n"
#define GUARD_STORE "1: str %[value], [%[to]]\n2:\n"
#define GUARD_ADD "1: ldaxr x10, [%[to]]\n   add x11, x10, %[value]\n"                 \
                  "3: stlxr w12, x11, [%[to]]\n   cbnz w12, 1b\n"                      \
                  "   mov %[value], x10\n2:\n"
#define GUARD_ADD_ENTRIES GUARD_ENTRY("1b", "2b") GUARD_ENTRY("3b", "2b")
#endif
/* clang-format on */

static inline int
guard_answer(uint64_t bad)
{
    return __builtin_expect(bad != 0, 0) ? -EFAULT : 0;
}

static inline int
guard_plain_load(uint64_t *to, uint64_t from)
{
    uint64_t value = 0;
    GUARD_BAD(bad);
    __asm__ volatile(GUARD_LOAD GUARD_ENTRY("1b", "2b")
                     : [value] "+r"(value), GUARD_BAD_OUT(bad)
                     : [from] "r"(from)
                     : "memory");
    *to = value;
    return guard_answer(bad);
}

static inline int
guard_plain_load_3(uint64_t to[3], uint64_t from)
{
    uint64_t a, b, c;
    GUARD_BAD(bad);
    __asm__ volatile(GUARD_LOAD_3 GUARD_ENTRY("1b", "4b") GUARD_ENTRY("2b", "4b")
                         GUARD_ENTRY("3b", "4b")
                     : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), GUARD_BAD_OUT(bad)
                     : [from] "r"(from)
                     : "memory");
    to[0] = a;
    to[1] = b;
    to[2] = c;
    return guard_answer(bad);
}

/* Follows up to six pointers, up to the first that is 0; `to` is zeroed. */
static inline int
guard_plain_args(uint64_t *to, uint64_t from)
{
    uint64_t i = 0;
    uint64_t word;
    GUARD_BAD(bad);
    __asm__ volatile(GUARD_FOLLOW GUARD_ENTRY("1b", "3b") GUARD_ENTRY("2b", "3b")
                     : [i] "+&r"(i), [word] "=&r"(word), GUARD_BAD_OUT(bad)
                     : [from] "r"(from), [to] "r"(to), [most] "i"(ARGS_MAX)
                     : "memory", "cc");
    return guard_answer(bad);
}

static inline int
guard_plain_store(uint64_t to, uint64_t value)
{
    GUARD_BAD(bad);
    __asm__ volatile(GUARD_STORE GUARD_ENTRY("1b", "2b")
                     : GUARD_BAD_OUT(bad)
                     : [to] "r"(to), [value] "r"(value)
                     : "memory");
    return guard_answer(bad);
}

/* Atomic. *sum is what the word is afterwards. */
static inline int
guard_plain_add(uint64_t to, uint64_t increment, int64_t *sum)
{
    uint64_t value = increment;
    GUARD_BAD(bad);
    __asm__ volatile(GUARD_ADD GUARD_ADD_ENTRIES
                     : [value] "+&r"(value), GUARD_BAD_OUT(bad)
                     : [to] "r"(to)
#if defined(__aarch64__)
                     : "memory", "x10", "x11", "x12");
#else
                     : "memory");
#endif
    *sum = (int64_t)(value + increment);
    return guard_answer(bad);
}

/* The same through the kernel; `flight` is who asks. With guard_probe_add, of threads
 * that add to the same word at the same time one may be lost. */
int guard_probe_load(struct flight *flight, uint64_t *to, uint64_t from, int count);
int guard_probe_args(struct flight *flight, uint64_t *to, uint64_t from);
int guard_probe_store(struct flight *flight, uint64_t to, uint64_t value);
int guard_probe_add(struct flight *flight, uint64_t to, uint64_t increment,
                    int64_t *sum);

/* A system call, unless or until somebody sets *stop and sends guard_signal:
 * GUARD_NOT_BEGUN, or what the kernel says (-EINTR) if it was begun. The signal may also
 * come without *stop, from a stranger. */
#define GUARD_NOT_BEGUN INT64_MIN
int64_t guard_call(long nr, const uint64_t *args, const uint32_t *stop);
int guard_signal(void);

void guard_open(void); /* installs the handlers; once, by the first syslet */
void guard_lock(void); /* around fork */
void guard_unlock(void);
bool guard_uses_probes(void);
int guard_choose(bool probes); /* the last choice, or -EBUSY: it is open */
/* Would this thread be told of a fault? The kernel kills where the signal is blocked. */
bool guard_may_fault_here(void);

#endif
