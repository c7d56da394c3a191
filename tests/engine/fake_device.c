/* /dev/syslet in a box: executes programs as the patched kernel does, see fake_kernel.h.
 *
 * Written from docs/kernel.md, not from the kernel's code, so that the engine is tested
 * against what is said there. Calls on scripted descriptors answer as scripted: an
 * attempt in the caller, the plain call in a worker. */
#define _GNU_SOURCE
#include "device.h"
#include "fake_kernel.h"
#include "program.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

static const uint32_t allowed[] = {
    __NR_read,   __NR_pread64,  __NR_write,     __NR_openat, __NR_close,
    __NR_fsync,  __NR_fstat,    __NR_getppid,   __NR_lseek,  __NR_dup,
    __NR_sendto, __NR_recvfrom, __NR_ftruncate,
};
static const uint32_t attempted[] = {
    __NR_read,  __NR_pread64, __NR_write, __NR_openat, __NR_close,
    __NR_fstat, __NR_getppid, __NR_dup,   __NR_sendto, __NR_recvfrom,
};

static uint64_t *
word(uint64_t address)
{
    return (uint64_t *)(uintptr_t)address;
}

static void
set_bits(const struct fake *fake, uint64_t *bits, const uint32_t *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (calls[i] >= 64 || !(fake->device_refused >> calls[i] & 1)) {
            bits[calls[i] / 64] |= UINT64_C(1) << (calls[i] % 64);
        }
    }
}

static void
tell(const struct fake *fake, struct device_info *info)
{
    memset(info, 0, sizeof(*info));
    info->magic = DEVICE_MAGIC;
    info->version = fake->device_version;
    set_bits(fake, info->allowed, allowed, sizeof(allowed) / sizeof(*allowed));
    set_bits(fake, info->attempted, attempted, sizeof(attempted) / sizeof(*attempted));
}

static bool
stops(uint32_t flags, int64_t res)
{
    return ((flags & SYSLET_STOP_ON_NONZERO) && res != 0) ||
           ((flags & SYSLET_STOP_ON_ZERO) && res == 0) ||
           ((flags & SYSLET_STOP_ON_NEGATIVE) && res < 0) ||
           ((flags & SYSLET_STOP_ON_NON_POSITIVE) && res <= 0);
}

/* 0: *res is the call's result. Else why it was not made. */
static int64_t
call(struct fake *fake, const struct device_atom *atom, const uint64_t args[6],
     bool in_worker, int64_t *res)
{
    struct device_info info;
    tell(fake, &info);
    if (!device_has(info.allowed, atom->nr)) {
        return atom->nr < 400 ? -EPERM : -ENOSYS;
    }
    bool attempts = device_has(info.attempted, atom->nr);
    if (!in_worker && (!attempts || (atom->flags & SYSLET_ASYNC))) {
        return -EAGAIN;
    }
    if (args[0] >= FAKE_FD && args[0] < FAKE_FD + FAKE_FDS && !in_worker) {
        struct fake_script *script = &fake->scripts[args[0] - FAKE_FD];
        script->attempts += 1;
        *res = script->attempt;
        return *res == -EAGAIN && !script->nonblocking ? -EAGAIN : 0;
    }
    *res = fake->kernel.call(fake, atom->nr, args);
    return 0;
}

static int64_t
step(struct fake *fake, struct device_run *run, bool in_worker)
{
    const struct device_atom *atom = (const struct device_atom *)(uintptr_t)run->pc;
    struct device_note *notes = (struct device_note *)(uintptr_t)run->notes;
    uint64_t args[6] = {0};
    int64_t res = 0, error = 0;
    for (int i = 0; i < 6 && atom->arg[i] != 0; i++) {
        args[i] = *word(atom->arg[i]);
    }
    if ((atom->flags & ~0x1ffu) || run->done > args[2]) {
        return -EINVAL;
    }
    args[1] += run->done;
    args[2] -= run->done;
    struct device_note *note = NULL;
    if (atom->flags & DEVICE_EMIT) {
        note = &notes[run->noted & (run->notes_count - 1)];
        error = note->atom != 0 ? -ENOBUFS : 0;
    }
    if (error == 0 && atom->nr == DEVICE_ADD) {
        res = (int64_t)(*word(args[0]) += args[1]);
    } else if (error == 0) {
        error = call(fake, atom, args, in_worker, &res);
    }
    if (error != 0) {
        return error;
    }
    if (run->done != 0) {
        res = (int64_t)run->done + (res < 0 ? 0 : res);
        run->done = 0;
    }
    run->last = run->pc;
    run->result = res;
    run->executed += 1;
    bool stop = stops(atom->flags, res);
    bool skips = (atom->flags & SYSLET_SKIP_TO_NEXT_ON_STOP) != 0;
    run->pc = !stop ? atom->next : skips ? run->pc + sizeof(*atom) : 0;
    if (atom->ret != 0) {
        *word(atom->ret) = (uint64_t)res;
    }
    if (note != NULL) {
        *note = (struct device_note){.atom = run->last, .result = res};
        run->noted += 1;
    }
    return 0;
}

int64_t
fake_device_run(struct fake *fake, uint64_t address, bool in_worker)
{
    struct device_run *run = (struct device_run *)(uintptr_t)address;
    uint32_t most = fake->device_budget;
    run->budget = most != 0 && most < run->budget ? most : run->budget;
    for (uint32_t atoms = 0; run->pc != 0; atoms++) {
        if (run->budget == 0) {
            return DEVICE_CUT;
        }
        if (in_worker && fake->device_cancels != 0 && atoms == fake->device_cancels) {
            return -ECANCELED;
        }
        run->budget -= 1;
        int64_t error = step(fake, run, in_worker);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

int64_t
fake_device_call(struct fake *fake, uint64_t request, uint64_t argument)
{
    if (request == DEVICE_IOC_INFO) {
        tell(fake, (struct device_info *)(uintptr_t)argument);
        return 0;
    }
    if (request != DEVICE_IOC_EXEC) {
        return -ENOTTY;
    }
    fake->runs += 1;
    if (fake->device_error != 0 && fake->runs > fake->device_runs) {
        return -fake->device_error;
    }
    return fake_device_run(fake, argument, false);
}
