/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Builds programs for the tests and runs them through the device.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "suite.h"

uint64_t *
program_value(struct program *program, uint64_t value)
{
    uint64_t *at = &program->value[program->values++];

    CHECK(program->values <= PROGRAM_ATOMS * 6);
    *at = value;
    return at;
}

struct syslet_uatom *
program_add(struct program *program, unsigned flags, void *ret, unsigned nr, ...)
{
    struct syslet_uatom *atom = &program->atom[program->atoms++];
    va_list args;

    CHECK(program->atoms <= PROGRAM_ATOMS);
    memset(atom, 0, sizeof(*atom));
    atom->flags = flags;
    atom->nr = nr;
    atom->ret_ptr = (uintptr_t)ret;
    va_start(args, nr);
    for (int i = 0; i < 6; i++) {
        atom->arg_ptr[i] = (uintptr_t)va_arg(args, void *);
        if (!atom->arg_ptr[i])
            break;
    }
    va_end(args);
    if (program->atoms > 1)
        atom[-1].next = (uintptr_t)atom;
    return atom;
}

void
run_begin(struct syslet_run *run, const struct syslet_uatom *first)
{
    memset(run, 0, sizeof(*run));
    run->pc = (uintptr_t)first;
}

static int device_fd = -1;

int
device(void)
{
    if (device_fd < 0)
        device_fd = open(SYSLET_DEVICE, O_RDWR | O_CLOEXEC);
    CHECK(device_fd >= 0);
    return device_fd;
}

void
device_forget(void)
{
    device_fd = -1;
}

int
run_exec(struct syslet_run *run)
{
    int result = ioctl(device(), SYSLET_IOC_EXEC, run);

    return result < 0 ? -errno : result;
}

int
program_exec(struct program *program, struct syslet_run *run)
{
    run_begin(run, program->atom);
    return run_exec(run);
}
