/* The timers of a loop: a heap by deadline, and by age where deadlines are equal.
 *
 * Every timer knows its place, so a cancelled one is taken out at once: programs cancel
 * most of their timers long before they are due. Used by the loop and by handles. */
#include "loop.h"

enum { ROOM_FIRST = 64 };

static inline bool
is_before(const struct core *core, Py_ssize_t one, Py_ssize_t other)
{
    double left = core->timers[one]->deadline, right = core->timers[other]->deadline;
    return left < right ||
           (left == right && core->timers_order[one] < core->timers_order[other]);
}

static inline void
swap(struct core *core, Py_ssize_t one, Py_ssize_t other)
{
    struct timer *timer = core->timers[one];
    uint64_t order = core->timers_order[one];
    core->timers[one] = core->timers[other];
    core->timers_order[one] = core->timers_order[other];
    core->timers[other] = timer;
    core->timers_order[other] = order;
    core->timers[one]->index = one;
    core->timers[other]->index = other;
}

static void
rise(struct core *core, Py_ssize_t index)
{
    while (index > 0 && is_before(core, index, (index - 1) / 2)) {
        swap(core, index, (index - 1) / 2);
        index = (index - 1) / 2;
    }
}

static void
sink(struct core *core, Py_ssize_t index)
{
    for (;;) {
        Py_ssize_t child = 2 * index + 1;
        if (child >= core->timers_count) {
            return;
        }
        if (child + 1 < core->timers_count && is_before(core, child + 1, child)) {
            child += 1;
        }
        if (!is_before(core, child, index)) {
            return;
        }
        swap(core, index, child);
        index = child;
    }
}

static int
grow(struct core *core)
{
    Py_ssize_t room = core->timers_room ? core->timers_room * 2 : ROOM_FIRST;
    struct timer **timers = PyMem_Realloc(core->timers, room * sizeof(*timers));
    if (timers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    core->timers = timers;
    uint64_t *order = PyMem_Realloc(core->timers_order, room * sizeof(*order));
    if (order == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    core->timers_order = order;
    core->timers_room = room;
    return 0;
}

int
timers_push(struct core *core, struct timer *timer)
{
    if (core->timers_count == core->timers_room && grow(core) < 0) {
        return -1;
    }
    Py_ssize_t index = core->timers_count++;
    core->timers[index] = (struct timer *)Py_NewRef(timer);
    core->timers_order[index] = core->timers_next++;
    timer->index = index;
    Py_XSETREF(timer->scheduled, Py_NewRef(Py_True));
    rise(core, index);
    return 0;
}

/* The heap's reference goes to the caller. */
static void
take_out(struct core *core, struct timer *timer)
{
    Py_ssize_t index = timer->index, last = --core->timers_count;
    assert(index >= 0 && core->timers[index] == timer);
    if (index != last) {
        core->timers[index] = core->timers[last];
        core->timers_order[index] = core->timers_order[last];
        core->timers[index]->index = index;
        rise(core, index);
        sink(core, index); /* one of the two does nothing */
    }
    timer->index = TIMER_NOT_SCHEDULED;
    Py_XSETREF(timer->scheduled, Py_NewRef(Py_False));
}

bool
timers_have(const struct core *core, const struct timer *timer)
{
    return timer->index >= 0 && timer->index < core->timers_count &&
           core->timers[timer->index] == timer;
}

void
timers_remove(struct core *core, struct timer *timer)
{
    take_out(core, timer);
    Py_DECREF(timer);
}

/* As asyncio, whose clock is known to a resolution of one nanosecond. */
int
timers_due(struct core *core)
{
    double now = core_time(core);
    if (now == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    now += 1e-9;
    while (core->timers_count > 0 && core->timers[0]->deadline < now) {
        struct timer *timer = core->timers[0];
        take_out(core, timer);
        if (core_push(core, (PyObject *)timer) < 0) {
            return -1;
        }
    }
    return 0;
}

void
timers_clear(struct core *core)
{
    while (core->timers_count > 0) {
        timers_remove(core, core->timers[core->timers_count - 1]);
    }
}
