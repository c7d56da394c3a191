/* The device of a kernel that executes syslets: is it there, and does it serve us?
 *
 * Called by engine.c when an engine is made and closed. Nothing is run here but one
 * harmless atom, which shows whether this process may. */
#define _GNU_SOURCE
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "engine_private.h"

_Static_assert(sizeof(struct device_atom) == 80, "the 64-bit atom");
_Static_assert(sizeof(struct device_run) == 80, "the kernel's syslet_run");
_Static_assert(sizeof(struct device_info) == 160, "the kernel's syslet_info");
_Static_assert((uint32_t)DEVICE_ADD == (uint32_t)PSEUDO_UMEM_ADD, "one number");

static int64_t
device_call(const struct engine *engine, uint32_t request, void *argument)
{
    return engine_call(engine, __NR_ioctl, (uint64_t)engine->device.fd, request,
                       (uintptr_t)argument, 0, 0, 0);
}

static int
ask(struct engine *engine)
{
    struct device_info info;
    memset(&info, 0, sizeof(info));
    int64_t res = device_call(engine, DEVICE_IOC_INFO, &info);
    if (res < 0) {
        return (int)res;
    }
    if (info.magic != DEVICE_MAGIC || info.version != DEVICE_VERSION) {
        return -ENOTSUP;
    }
    memcpy(engine->device.allowed, info.allowed, sizeof(info.allowed));
    memcpy(engine->device.attempted, info.attempted, sizeof(info.attempted));
    return 0;
}

static int
try_it(struct engine *engine)
{
    int64_t sum = 1;
    uint64_t address = (uintptr_t)&sum, addend = 1;
    struct device_atom atom = {
        .nr = DEVICE_ADD,
        .arg = {(uintptr_t)&address, (uintptr_t)&addend},
    };
    struct device_run run = {
        .pc = (uintptr_t)&atom,
        .budget = 1,
        .flags = DEVICE_NOWAIT,
    };
    int64_t res;
    do {
        res = device_call(engine, DEVICE_IOC_EXEC, &run);
    } while (res == -EINTR && run.pc != 0);
    if (res < 0) {
        return (int)res;
    }
    return sum == 2 ? 0 : -EIO;
}

int
device_open(struct engine *engine)
{
    struct device *device = &engine->device;
    memset(device, 0, sizeof(*device));
    int64_t fd = engine_call(engine, __NR_openat, (uint64_t)AT_FDCWD,
                             (uintptr_t)DEVICE_PATH, O_RDWR | O_CLOEXEC, 0, 0, 0);
    device->fd = (int)(fd < 0 ? -1 : fd);
    if (fd < 0) {
        return (int)fd;
    }
    int res = ask(engine);
    if (res == 0) {
        res = try_it(engine);
    }
    if (res < 0) {
        device_close(engine);
    }
    return res;
}

void
device_close(struct engine *engine)
{
    if (engine->device.fd >= 0) {
        engine_call(engine, __NR_close, (uint64_t)engine->device.fd, 0, 0, 0, 0, 0);
        engine->device.fd = -1;
    }
}
