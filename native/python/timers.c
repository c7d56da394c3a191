/* The timers of a loop: a heap by deadline, and by age where deadlines are equal.
 *
 * Every timer knows its place, so a cancelled one is taken out at once: programs cancel
 * most of their timers long before they are due. Used by the loop and by handles. */
#include "loop.h"

enum { ROOM_FIRST = 64, CHILDREN = 4 };

/* Without branches: which of two timers is first is as good as random, and a branch that
 * is predicted wrongly costs more than everything else here. */
static inline bool
is_before(const struct timer_place *one, const struct timer_place *other)
{
    return (one->deadline < other->deadline) |
           ((one->deadline == other->deadline) & (one->order < other->order));
}

static inline void
put(struct core *core, Py_ssize_t index, struct timer_place place)
{
    core->timers[index] = place;
    place.timer->index = index;
}

/* Fills the hole at `index` with `place` or, until it fits, with what is above. */
static void
rise(struct core *core, Py_ssize_t index, struct timer_place place)
{
    while (index > 0) {
        Py_ssize_t parent = (index - 1) / CHILDREN;
        if (!is_before(&place, &core->timers[parent])) {
            break;
        }
        put(core, index, core->timers[parent]);
        index = parent;
    }
    put(core, index, place);
}

static inline Py_ssize_t
first_child(const struct core *core, Py_ssize_t child)
{
    const struct timer_place *timers = core->timers;
    if (LIKELY(child + CHILDREN <= core->timers_count)) {
        Py_ssize_t left = child + is_before(&timers[child + 1], &timers[child]);
        Py_ssize_t right =
            child + 2 + is_before(&timers[child + 3], &timers[child + 2]);
        return is_before(&timers[right], &timers[left]) ? right : left;
    }
    Py_ssize_t first = child;
    while (++child < core->timers_count) {
        first = is_before(&timers[child], &timers[first]) ? child : first;
    }
    return first;
}

/* The same with what is below. */
static void
sink(struct core *core, Py_ssize_t index, struct timer_place place)
{
    for (;;) {
        Py_ssize_t child = CHILDREN * index + 1;
        if (child >= core->timers_count) {
            break;
        }
        child = first_child(core, child);
        if (!is_before(&core->timers[child], &place)) {
            break;
        }
        put(core, index, core->timers[child]);
        index = child;
    }
    put(core, index, place);
}

static int
grow(struct core *core)
{
    Py_ssize_t room = core->timers_room ? core->timers_room * 2 : ROOM_FIRST;
    struct timer_place *timers =
        PyMem_Realloc(core->timers, room * sizeof(*core->timers));
    if (timers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    core->timers = timers;
    core->timers_room = room;
    return 0;
}

int
timers_push(struct core *core, struct timer *timer)
{
    if (core->timers_count == core->timers_room && grow(core) < 0) {
        return -1;
    }
    struct timer_place place = {
        .deadline = timer->deadline,
        .order = core->timers_next++,
        .timer = (struct timer *)Py_NewRef(timer),
    };
    Py_XSETREF(timer->scheduled, Py_NewRef(Py_True));
    rise(core, core->timers_count++, place);
    return 0;
}

/* The heap's reference goes to the caller. */
static void
take_out(struct core *core, struct timer *timer)
{
    Py_ssize_t index = timer->index, last = --core->timers_count;
    assert(index >= 0 && core->timers[index].timer == timer);
    if (index != last) {
        struct timer_place place = core->timers[last];
        bool rises =
            index > 0 && is_before(&place, &core->timers[(index - 1) / CHILDREN]);
        (rises ? rise : sink)(core, index, place);
    }
    timer->index = TIMER_NOT_SCHEDULED;
    Py_XSETREF(timer->scheduled, Py_NewRef(Py_False));
}

bool
timers_have(const struct core *core, const struct timer *timer)
{
    return timer->index >= 0 && timer->index < core->timers_count &&
           core->timers[timer->index].timer == timer;
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
    while (core->timers_count > 0 && core->timers[0].deadline < now) {
        struct timer *timer = core->timers[0].timer;
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
        timers_remove(core, core->timers[core->timers_count - 1].timer);
    }
}
