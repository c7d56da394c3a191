/* The tick: one turn of the loop, and the run of turns until somebody stops it.
 *
 * Called by loop.c on the loop's thread. Between two ticks nothing is half done. */
#include "loop.h"

#include <errno.h>
#include <math.h>

/* Longest sleep, as in asyncio: clocks and kernels do not like longer ones. */
#define SLEEP_S_MAX (24 * 3600.0)

/* Ticks without a wait between looks for signals, and for threads that want the lock. */
enum { SIGNAL_TICKS_MASK = 15, LOCK_TICKS_MASK = 63 };

enum {
    BUSY_WRITES = 4,   /* in one tick: more are expected soon */
    BUSY_TICKS = 8,    /* for so long */
    GATHERED_MAX = 64, /* transports; more are not kept waiting */
};

/* How long the timers let the wait last: -1: until something happens. -2: exception. */
static int64_t
time_to_timer(struct core *core)
{
    if (core->ready_count > 0 || core->stopping) {
        return 0;
    }
    if (core->timers_count == 0) {
        return -1;
    }
    double now = core_time(core);
    if (now == -1.0 && PyErr_Occurred()) {
        return -2;
    }
    if (core->timers_count == 0) { /* a clock in Python may have cancelled it */
        return core->ready_count > 0 ? 0 : -1;
    }
    double seconds = core->timers[0].deadline - now;
    if (!(seconds > 0)) {
        return 0;
    }
    return (int64_t)ceil(fmin(seconds, SLEEP_S_MAX) * 1e9);
}

/* How long the wait may last: -1: until something happens. -2: an exception is set. */
static int64_t
time_to_wait(struct core *core)
{
    int64_t most_ns = core->doubts_count > 0 ? doubts_settle(core) : -1;
    int64_t wait_ns = time_to_timer(core);
    if (most_ns >= 0 && (wait_ns == -1 || wait_ns > most_ns)) {
        return most_ns;
    }
    return wait_ns;
}

static int
turn_failed(int res)
{
    if (res == -EINTR) {
        return PyErr_CheckSignals();
    }
    errno = -res;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* One turn of the engine, with everything that it wants to be told. Whoever pushes from
 * another thread must wake us from the moment on at which we look how long to wait, so
 * `asleep` is set before that; the engine looks at the ready queue once more, because
 * Python code may run up to the wait itself. */
static int
wait_and_collect(struct core *core)
{
    bool idle = core->ready_count == 0 && !core->stopping;
    bool needed = idle || core->sources != NULL || core->readers_count != 0;
    if (core->engine == NULL && (!needed || core_engine(core) == NULL)) {
        return needed ? -1 : core_check_process(core);
    }
    core->asleep = true;
    int64_t timeout_ns = time_to_wait(core);
    if (timeout_ns == -2) {
        core->asleep = false;
        return -1;
    }
    struct engine_object *engine = core->engine;
    bool watched = false;
    Py_INCREF(engine);
    int res = engine_take_turn(engine, timeout_ns, &core->ready_count, &watched);
    Py_DECREF(engine);
    core->asleep = false;
    if (UNLIKELY(res < 0)) {
        return res == -ECANCELED ? -1 : turn_failed(res);
    }
    return watched && core->readers_fd >= 0 ? readers_collect(core) : 0;
}

/* An entry that is not one of our handles: asyncio's own, appended by its code. */
static int
run_foreign(PyObject *handle)
{
    PyObject *cancelled = PyObject_GetAttrString(handle, "_cancelled");
    int skip = cancelled == NULL ? -1 : PyObject_IsTrue(cancelled);
    Py_XDECREF(cancelled);
    if (skip != 0) {
        return skip < 0 ? -1 : 0;
    }
    PyObject *res = PyObject_CallMethod(handle, "_run", NULL);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
run_source(struct source *source)
{
    uint32_t events = source->events;
    source->queued = false;
    source->events = 0;
    int res = source->kind->ready(source, events);
    if (UNLIKELY(res < 0) && !exception_is_fatal()) {
        PyObject *exception = exception_take();
        PyObject *args[] = {source->core->loop, source->object, exception};
        res = report("source_failed", args, 3);
        Py_DECREF(exception);
    }
    Py_DECREF(source->object);
    return res;
}

static int
run_object(struct core *core, entry_t entry)
{
    if (entry & ENTRY_SOURCE) {
        core->in_source = true;
        int res = run_source((struct source *)(entry & ~(entry_t)ENTRY_SOURCE));
        core->in_source = false;
        return res;
    }
    PyObject *object = (PyObject *)entry;
    int res = 0;
    if (LIKELY(Py_IS_TYPE(object, Handle_Type) ||
               Py_IS_TYPE(object, TimerHandle_Type))) {
        struct handle *handle = (struct handle *)object;
        if (LIKELY(!handle_is_cancelled(handle))) {
            res = handle_run(handle);
        }
    } else {
        res = run_foreign(object);
    }
    Py_DECREF(object);
    return res;
}

/* What was gathered waits for the end of the tick only if the loop is busy. */
static int
run_entry(struct core *core, entry_t entry)
{
    core->entries += 1;
    core->in_entry = true;
    int res = run_object(core, entry);
    core->in_entry = false;
    if (UNLIKELY(core->gathered_first != NULL) &&
        (!core->busy || core->gathered_count >= GATHERED_MAX || res < 0) &&
        sources_settle(core) < 0) {
        res = -1;
    }
    return res;
}

/* It could not be run: a source keeps its events, a handle is lost as in asyncio. */
static void
run_later(struct core *core, entry_t entry)
{
    if ((entry & ENTRY_SOURCE) == 0) {
        Py_DECREF((PyObject *)entry);
        return;
    }
    struct source *source = (struct source *)(entry & ~(entry_t)ENTRY_SOURCE);
    PyObject *exception = exception_take();
    source->queued = false;
    if (core_push_source(core, source) < 0) {
        PyErr_Clear();
    }
    Py_DECREF(source->object);
    exception_raise(exception);
}

/* The clock may be the program's, and fail. */
static int
tell_duration(struct core *core, PyObject *object, double start)
{
    double now = core_time(core);
    if (now == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    PyObject *taken = PyFloat_FromDouble(now - start);
    PyObject *args[] = {core->loop, object, taken};
    int res = taken == NULL ? -1 : report("slow_callback", args, 3);
    Py_XDECREF(taken);
    return res;
}

/* Debug mode: how long it took is measured, and told if it was too long. */
static int
run_entry_watched(struct core *core, entry_t entry)
{
    bool is_source = (entry & ENTRY_SOURCE) != 0;
    struct source *source = (struct source *)(entry & ~(entry_t)ENTRY_SOURCE);
    PyObject *object = Py_NewRef(is_source ? source->object : (PyObject *)entry);
    if (!is_source && PyObject_TypeCheck(object, Handle_Type) &&
        handle_is_cancelled((struct handle *)object)) {
        Py_DECREF(object);
        return run_entry(core, entry);
    }
    PyObject *exception = NULL;
    double start = core_time(core);
    int res = start == -1.0 && PyErr_Occurred() ? -1 : 0;
    /* asyncio's exception handler wants a handle, which a source is not. */
    if (res == 0 && !is_source &&
        PyObject_SetAttrString(core->loop, "_current_handle", object) < 0) {
        res = -1;
    }
    if (res < 0) {
        run_later(core, entry);
        Py_DECREF(object);
        return -1;
    }
    if (run_entry(core, entry) < 0 || tell_duration(core, object, start) < 0) {
        exception = exception_take();
    }
    Py_DECREF(object);
    if (PyObject_SetAttrString(core->loop, "_current_handle", Py_None) < 0 &&
        exception != NULL) {
        PyErr_Clear();
    }
    if (exception != NULL) {
        exception_raise(exception);
    }
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* What is ready now, not what becomes ready meanwhile: that is the next tick's. */
static int
run_ready(struct core *core)
{
    for (uint32_t left = core->ready_count; left > 0 && core->ready_count > 0; left--) {
        entry_t entry = core->ready[core->ready_head & core->ready_mask];
        core->ready_head += 1;
        core->ready_count -= 1;
        int res = LIKELY(!core->debug) ? run_entry(core, entry)
                                       : run_entry_watched(core, entry);
        if (UNLIKELY(res < 0)) {
            return -1;
        }
    }
    return 0;
}

/* Tasks that answer do not run in each tick, so busyness lasts a little. */
static void
note_writes(struct core *core)
{
    if (core->writes >= BUSY_WRITES) {
        core->busy_ticks = BUSY_TICKS;
    } else if (core->busy_ticks > 0) {
        core->busy_ticks -= 1;
    }
    core->busy = core->busy_ticks > 0;
    core->writes = 0;
}

static int
tick(struct core *core)
{
    if (wait_and_collect(core) < 0 ||
        (core->timers_count > 0 && timers_due(core) < 0)) {
        return -1;
    }
    note_writes(core);
    int res = run_ready(core);
    if (core->gathered_first != NULL && sources_settle(core) < 0) {
        res = -1;
    }
    if (res < 0) {
        return -1;
    }
    /* Callbacks in C never let the interpreter look for signals. */
    if (core->ready_count == 0) {
        return PyErr_CheckSignals();
    }
    core->ticks += 1;
    if (UNLIKELY((core->ticks & LOCK_TICKS_MASK) == 0)) { /* nor let others run */
        Py_BEGIN_ALLOW_THREADS;
        Py_END_ALLOW_THREADS;
    }
    return (core->ticks & SIGNAL_TICKS_MASK) == 0 ? PyErr_CheckSignals() : 0;
}

PyObject *
core_run(struct core *core, bool once)
{
    if (core_check_process(core) < 0) {
        return NULL;
    }
    bool outer = core->running, inside = core->in_entry, source = core->in_source;
    int res = sources_settle(core); /* of a callback that runs the loop */
    if (res < 0) {
        return NULL;
    }
    Py_INCREF(core);
    core->running = true;
    core->in_entry = core->in_source = false;
    do {
        res = tick(core);
    } while (res == 0 && !once && !core->stopping);
    core->running = outer;
    core->in_entry = inside;
    core->in_source = source;
    Py_DECREF(core);
    if (res < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
