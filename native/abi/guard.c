/* Guarded access, see guard.h: the handlers, and access through the kernel.
 *
 * A fault at an instruction that has an entry goes on where the entry says. Every other
 * fault is passed on to whoever was there before us. */
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

/* clang-format off */
#define FUNCTION(name) ".globl " #name "\n.hidden " #name "\n.type " #name \
    ", %function\n" #name ":\n"
#define LABEL(name) ".globl " #name "\n.hidden " #name "\n" #name ":\n"

#if defined(__x86_64__)
__asm__(
    ".text\n.balign 64\n"
    FUNCTION(guard_call) /* rdi number, rsi arguments, rdx stop */
    "    mov %rdi, %rax\n"
    "    mov %rdx, %rcx\n"
    "    mov %rsi, %r11\n"
    "    mov (%r11), %rdi\n"
    "    mov 8(%r11), %rsi\n"
    "    mov 16(%r11), %rdx\n"
    "    mov 24(%r11), %r10\n"
    "    mov 32(%r11), %r8\n"
    "    mov 40(%r11), %r9\n"
    LABEL(guard_call_begin)
    "    cmpl $0, (%rcx)\n"
    "    jne guard_call_stop\n"
    LABEL(guard_call_trap)
    "    syscall\n"
    "    ret\n"
    LABEL(guard_call_stop)
    "    movabs $0x8000000000000000, %rax\n"
    "    ret\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n.balign 64\n"
    FUNCTION(guard_call) /* x0 number, x1 arguments, x2 stop */
    "    mov x8, x0\n"
    "    mov x9, x2\n"
    "    mov x10, x1\n"
    "    ldp x0, x1, [x10]\n"
    "    ldp x2, x3, [x10, #16]\n"
    "    ldp x4, x5, [x10, #32]\n"
    LABEL(guard_call_begin)
    "    ldr w9, [x9]\n"
    "    cbnz w9, guard_call_stop\n"
    LABEL(guard_call_trap)
    "    svc #0\n"
    "    ret\n"
    LABEL(guard_call_stop)
    "    mov x0, #0x8000000000000000\n"
    "    ret\n");
#endif
/* clang-format on */

extern const char guard_call_begin[], guard_call_trap[], guard_call_stop[];
_Static_assert((uint64_t)GUARD_NOT_BEGUN == 0x8000000000000000, "as written above");

/* The section's bounds, which the linker knows. */
extern const struct guard_entry __start_syslet_guard[]
    __attribute__((visibility("hidden")));
extern const struct guard_entry __stop_syslet_guard[]
    __attribute__((visibility("hidden")));

static struct sigaction passed_on[2]; /* SIGSEGV, SIGBUS: who was there before us */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static bool is_open, probes_chosen;

/* --- handlers ----------------------------------------------------------------------- */

static uintptr_t
pc_get(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#else
    return (uintptr_t)context->uc_mcontext.pc;
#endif
}

static void
pc_set(ucontext_t *context, uintptr_t to)
{
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)to;
#else
    context->uc_mcontext.pc = to;
#endif
}

static void
pass_on(int number, siginfo_t *info, void *context)
{
    struct sigaction old = passed_on[number == SIGBUS];
    if (old.sa_flags & (int)SA_RESETHAND) { /* a handler for one signal only */
        passed_on[number == SIGBUS] = (struct sigaction){.sa_handler = SIG_DFL};
    }
    if (old.sa_flags & SA_SIGINFO) {
        old.sa_sigaction(number, info, context);
    } else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) {
        old.sa_handler(number);
    } else if (old.sa_handler == SIG_DFL || info->si_code > 0) {
        /* The fault happens again and ends the process, as it would have without us;
         * one that was sent does not, so it is sent again. */
        struct sigaction none = {.sa_handler = SIG_DFL};
        sigaction(number, &none, NULL);
        if (info->si_code <= 0) {
            raise(number);
        }
    }
}

static void
bad_set(ucontext_t *context)
{
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RCX] = 1;
#else
    context->uc_mcontext.regs[9] = 1;
#endif
}

static uintptr_t
address_of(const int32_t *field)
{
    return (uintptr_t)field + (uintptr_t)(intptr_t)*field;
}

static void
on_fault(int number, siginfo_t *info, void *context)
{
    uintptr_t pc = pc_get(context);
    const struct guard_entry *entry = __start_syslet_guard;
    for (; entry != __stop_syslet_guard && info->si_code > 0; entry++) {
        if (address_of(&entry->at) == pc) {
            bad_set(context);
            pc_set(context, address_of(&entry->go_on));
            return;
        }
    }
    pass_on(number, info, context);
}

/* A thread that has looked at *stop and has not entered the kernel yet must not enter
 * it: nobody would interrupt it there. */
static void
on_interrupt(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    uintptr_t pc = pc_get(context);
    if (pc >= (uintptr_t)guard_call_begin && pc <= (uintptr_t)guard_call_trap) {
        pc_set(context, (uintptr_t)guard_call_stop);
    }
}

int
guard_signal(void)
{
    return SIGRTMAX - 6;
}

static void
install(int number, struct sigaction *old)
{
    sigaction(number, NULL, old);
    struct sigaction ours = *old; /* its mask and its restarts stay in force */
    ours.sa_sigaction = on_fault;
    ours.sa_flags = (old->sa_flags & (SA_RESTART | SA_NODEFER | SA_NOCLDSTOP)) |
                    SA_SIGINFO | SA_ONSTACK;
    sigaction(number, &ours, NULL);
}

void
guard_open(void)
{
    if (__atomic_load_n(&is_open, __ATOMIC_ACQUIRE)) {
        return;
    }
    pthread_mutex_lock(&opening);
    if (!is_open) {
        if (!probes_chosen) {
            install(SIGSEGV, &passed_on[0]);
            install(SIGBUS, &passed_on[1]);
        }
        struct sigaction interrupt = {.sa_sigaction = on_interrupt,
                                      .sa_flags = SA_SIGINFO}; /* no SA_RESTART */
        sigaction(guard_signal(), &interrupt, NULL);
        __atomic_store_n(&is_open, true, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&opening);
}

void
guard_lock(void)
{
    pthread_mutex_lock(&opening);
}

void
guard_unlock(void)
{
    pthread_mutex_unlock(&opening);
}

bool
guard_uses_probes(void)
{
    return probes_chosen;
}

int
guard_choose(bool probes)
{
    pthread_mutex_lock(&opening);
    int last = is_open ? -EBUSY : probes_chosen;
    if (!is_open) {
        probes_chosen = probes;
    }
    pthread_mutex_unlock(&opening);
    return last;
}

bool
guard_may_fault_here(void)
{
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    return !sigismember(&blocked, SIGSEGV) && !sigismember(&blocked, SIGBUS);
}

/* --- through the kernel ------------------------------------------------------------- */

int
guard_probe_load(struct flight *flight, uint64_t *to, uint64_t from, int count)
{
    return memory_read(flight, to, from, (size_t)count * sizeof(*to));
}

int
guard_probe_args(struct flight *flight, uint64_t *to, uint64_t from)
{
    for (int i = 0; i < ARGS_MAX; i++) {
        uint64_t pointer;
        uint64_t at = from + (uint64_t)i * sizeof(pointer);
        if (memory_read(flight, &pointer, at, sizeof(pointer)) < 0) {
            return -EFAULT;
        }
        if (pointer == 0) {
            return 0;
        }
        if (memory_read(flight, &to[i], pointer, sizeof(*to)) < 0) {
            return -EFAULT;
        }
    }
    return 0;
}

int
guard_probe_store(struct flight *flight, uint64_t to, uint64_t value)
{
    return memory_write(flight, to, &value, sizeof(value));
}

int
guard_probe_add(struct flight *flight, uint64_t to, uint64_t increment, int64_t *sum)
{
    uint64_t value;
    if (memory_read(flight, &value, to, sizeof(value)) < 0) {
        return -EFAULT;
    }
    value += increment;
    if (memory_write(flight, to, &value, sizeof(value)) < 0) {
        return -EFAULT;
    }
    *sum = (int64_t)value;
    return 0;
}
