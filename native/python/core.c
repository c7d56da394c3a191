/* The core of a loop: its ready queue, its engine, its clock, who has which descriptor.
 *
 * One per loop, made with it. Pushes come from the loop's own thread, or from others
 * that hold the interpreter's lock (call_soon_threadsafe). */
#include "loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { READY_FIRST = 256, FDS_FIRST = 64 };

/* --- the ready queue ---------------------------------------------------------------------- */

static int
ready_grow(struct core *core)
{
    uint32_t room = core->ready == NULL ? READY_FIRST : (core->ready_mask + 1) * 2;
    entry_t *ready = PyMem_Malloc(room * sizeof(*ready));
    if (ready == NULL || room > UINT32_MAX / 4) {
        PyMem_Free(ready);
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < core->ready_count; i++) {
        ready[i] = core->ready[(core->ready_head + i) & core->ready_mask];
    }
    PyMem_Free(core->ready);
    core->ready = ready;
    core->ready_head = 0;
    core->ready_mask = room - 1;
    return 0;
}

static inline int
push(struct core *core, entry_t entry)
{
    bool full = core->ready == NULL || core->ready_count > core->ready_mask;
    if (UNLIKELY(full) && ready_grow(core) < 0) {
        return -1;
    }
    core->ready[(core->ready_head + core->ready_count) & core->ready_mask] = entry;
    core->ready_count += 1;
    return 0;
}

int
core_push(struct core *core, PyObject *handle)
{
    if (UNLIKELY(push(core, (entry_t)handle) < 0)) {
        Py_DECREF(handle);
        return -1;
    }
    return 0;
}

int
core_push_source(struct core *core, struct source *source)
{
    if (push(core, (entry_t)source | ENTRY_SOURCE) < 0) {
        return -1;
    }
    source->queued = true;
    Py_INCREF(source->object);
    return 0;
}

static void
entry_drop(entry_t entry)
{
    if (entry & ENTRY_SOURCE) {
        struct source *source = (struct source *)(entry & ~(entry_t)ENTRY_SOURCE);
        source->queued = false;
        Py_DECREF(source->object);
    } else {
        Py_DECREF((PyObject *)entry);
    }
}

static void
ready_drop_all(struct core *core)
{
    while (core->ready_count > 0) {
        entry_t entry = core->ready[core->ready_head & core->ready_mask];
        core->ready_head += 1;
        core->ready_count -= 1;
        entry_drop(entry);
    }
}

static void
ready_clear(struct core *core)
{
    ready_drop_all(core);
    if (core->parents == NULL) {
        return;
    }
    PyMem_Free(core->ready);
    core->ready = core->parents;
    core->ready_head = core->parents_head;
    core->ready_count = core->parents_count;
    core->ready_mask = core->parents_mask;
    core->parents = NULL;
    core->parents_count = 0;
    ready_drop_all(core);
}

void
core_wake(struct core *core)
{
    if (core->asleep && core->engine != NULL && core->engine->engine != NULL) {
        core->asleep = false; /* one wake is enough */
        engine_wake(core->engine->engine);
    }
}

/* --- fork ----------------------------------------------------------------------------------- */

static struct core *cores; /* list head; changed under the interpreter's lock */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* In the child, before anything else runs there. What was ready is the parent's to run:
 * a callback that runs twice takes the parent's bytes. It is only put aside, because no
 * object may be freed here. */
static void
disown(struct core *core)
{
    bool touched = core->engine != NULL || core->readers_fd >= 0 ||
                   core->sources != NULL || core->running;
    if (core->forked || !touched) {
        return;
    }
    core->forked = true;
    core->asleep = false;
    core->parents = core->ready;
    core->parents_head = core->ready_head;
    core->parents_count = core->ready_count;
    core->parents_mask = core->ready_mask;
    core->ready = NULL;
    core->ready_head = core->ready_count = core->ready_mask = 0;
}

static void
disown_all(void)
{
    for (struct core *core = cores; core != NULL; core = core->following_core) {
        disown(core);
    }
}

static void
watch_forks(void)
{
    pthread_atfork(NULL, NULL, disown_all);
}

static void
join_cores(struct core *core)
{
    pthread_once(&fork_once, watch_forks);
    core->following_core = cores;
    if (cores != NULL) {
        cores->previous_core = core;
    }
    cores = core;
}

static void
leave_cores(struct core *core)
{
    if (core->previous_core != NULL) {
        core->previous_core->following_core = core->following_core;
    } else {
        cores = core->following_core;
    }
    if (core->following_core != NULL) {
        core->following_core->previous_core = core->previous_core;
    }
}

int
core_check_process(const struct core *core)
{
    if (LIKELY(!core->forked)) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "this event loop belongs to the parent process; after fork the "
                    "child makes its own");
    return -1;
}

/* --- the clock ------------------------------------------------------------------------------ */

double
core_time(struct core *core)
{
    if (UNLIKELY(core->time_replaced)) {
        PyObject *now = PyObject_CallMethod(core->loop, "time", NULL);
        double seconds = now == NULL ? -1.0 : PyFloat_AsDouble(now);
        Py_XDECREF(now);
        return seconds;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    /* The same rounding as time.monotonic(). */
    return (double)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec) / 1e9;
}

/* --- the engine -------------------------------------------------------------------------------- */

PyObject *
core_engine(struct core *core)
{
    if (LIKELY(core->engine != NULL)) {
        return (PyObject *)core->engine;
    }
    if (core_check_process(core) < 0) {
        return NULL;
    }
    PyObject *made = PyObject_CallMethod(core->loop, "_make_engine", NULL);
    if (made == NULL) {
        return NULL;
    }
    if (!PyObject_TypeCheck(made, &Engine_Type)) {
        PyErr_SetString(PyExc_TypeError, "_make_engine gave no engine");
        Py_DECREF(made);
        return NULL;
    }
    if (core->engine != NULL) { /* by Python code on the way */
        PyObject *closed = PyObject_CallMethodNoArgs(made, names.close);
        Py_DECREF(made);
        Py_XDECREF(closed);
        return closed == NULL ? NULL : (PyObject *)core->engine;
    }
    core->engine = (struct engine_object *)made;
    int res =
        core->readers_fd < 0 ? 0 : engine_watch(core->engine->engine, core->readers_fd);
    if (res < 0) {
        Py_CLEAR(core->engine);
        errno = -res;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return sources_begin(core) < 0 ? NULL : made;
}

/* --- who has which descriptor ------------------------------------------------------------------- */

static int
holders_grow(struct core *core, uint32_t least)
{
    uint32_t room = core->holders_room ? core->holders_room : FDS_FIRST;
    while (room <= least) {
        room *= 2;
    }
    struct source **holders = PyMem_Realloc(core->holders, room * sizeof(*holders));
    if (holders == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(holders + core->holders_room, 0,
           (room - core->holders_room) * sizeof(*holders));
    core->holders = holders;
    core->holders_room = room;
    return 0;
}

int
core_hold_fd(struct core *core, int fd, struct source *source)
{
    if ((uint32_t)fd >= core->holders_room && holders_grow(core, (uint32_t)fd) < 0) {
        return -1;
    }
    core->holders[fd] = source;
    return 0;
}

void
core_drop_fd(struct core *core, int fd, const struct source *source)
{
    if (fd >= 0 && (uint32_t)fd < core->holders_room && core->holders[fd] == source) {
        core->holders[fd] = NULL;
    }
}

/* --- life ------------------------------------------------------------------------------------------- */

struct core *
core_new(void)
{
    struct core *core = PyObject_GC_New(struct core, &Core_Type);
    if (core == NULL) {
        return NULL;
    }
    memset((char *)core + sizeof(PyObject), 0, sizeof(*core) - sizeof(PyObject));
    core->readers_fd = -1;
    join_cores(core);
    PyObject_GC_Track(core);
    return core;
}

static int
visit_entries(const entry_t *entries, uint32_t head, uint32_t count, uint32_t mask,
              visitproc visit, void *arg)
{
    for (uint32_t i = 0; i < count; i++) {
        entry_t entry = entries[(head + i) & mask];
        if (entry & ENTRY_SOURCE) {
            struct source *source = (struct source *)(entry & ~(entry_t)ENTRY_SOURCE);
            Py_VISIT(source->object);
        } else {
            Py_VISIT((PyObject *)entry);
        }
    }
    return 0;
}

static int
core_traverse(struct core *self, visitproc visit, void *arg)
{
    Py_VISIT(self->engine);
    Py_VISIT(self->task_factory);
    for (Py_ssize_t i = 0; i < self->timers_count; i++) {
        Py_VISIT(self->timers[i].timer);
    }
    for (struct source *source = self->sources; source != NULL;
         source = source->following) {
        if (source->held) {
            Py_VISIT(source->object);
        }
    }
    for (uint32_t fd = 0; fd < self->readers_room; fd++) {
        Py_VISIT(self->readers[fd].read);
        Py_VISIT(self->readers[fd].write);
        Py_VISIT(self->readers[fd].file);
    }
    int res = visit_entries(self->parents, self->parents_head, self->parents_count,
                            self->parents == NULL ? 0 : self->parents_mask, visit, arg);
    return res != 0 ? res
                    : visit_entries(self->ready, self->ready_head, self->ready_count,
                                    self->ready_mask, visit, arg);
}

static int
core_clear(struct core *self)
{
    ready_clear(self);
    timers_clear(self);
    sources_lose_all(self);
    readers_clear(self);
    Py_CLEAR(self->engine);
    Py_CLEAR(self->task_factory);
    return 0;
}

static void
core_dealloc(struct core *self)
{
    PyObject_GC_UnTrack(self);
    leave_cores(self);
    (void)core_clear(self);
    PyMem_Free(self->ready);
    PyMem_Free(self->timers);
    PyMem_Free(self->readers);
    PyMem_Free(self->holders);
    PyMem_Free(self->doubts);
    Py_CLEAR(self->buffer);
    Py_CLEAR(self->small);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* --- what Python sees: len, append, popleft, clear of the ready queue ------------------------------- */

static Py_ssize_t
core_length(struct core *self)
{
    return self->ready_count;
}

static PyObject *
core_append(struct core *self, PyObject *handle)
{
    if (core_push(self, Py_NewRef(handle)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
core_popleft(struct core *self, PyObject *none)
{
    (void)none;
    if (self->ready_count == 0) {
        PyErr_SetString(PyExc_IndexError, "pop from an empty deque");
        return NULL;
    }
    entry_t entry = self->ready[self->ready_head & self->ready_mask];
    self->ready_head += 1;
    self->ready_count -= 1;
    if ((entry & ENTRY_SOURCE) == 0) {
        return (PyObject *)entry;
    }
    struct source *source = (struct source *)(entry & ~(entry_t)ENTRY_SOURCE);
    source->queued = false;
    return source->object;
}

static PyObject *
core_clear_method(struct core *self, PyObject *none)
{
    (void)none;
    ready_clear(self);
    Py_RETURN_NONE;
}

static PyObject *
core_item(struct core *self, Py_ssize_t index)
{
    if (index < 0 || index >= (Py_ssize_t)self->ready_count) {
        PyErr_SetString(PyExc_IndexError, "deque index out of range");
        return NULL;
    }
    uint32_t place = (self->ready_head + (uint32_t)index) & self->ready_mask;
    entry_t entry = self->ready[place];
    if (entry & ENTRY_SOURCE) {
        return Py_NewRef(((struct source *)(entry & ~(entry_t)ENTRY_SOURCE))->object);
    }
    return Py_NewRef((PyObject *)entry);
}

static PyMethodDef core_methods[] = {
    {"append", (PyCFunction)core_append, METH_O, "Have a handle run in the next tick."},
    {"popleft", (PyCFunction)core_popleft, METH_NOARGS, "The next one to run."},
    {"clear", (PyCFunction)core_clear_method, METH_NOARGS, "Forget all of them."},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods core_sequence = {
    .sq_length = (lenfunc)core_length,
    .sq_item = (ssizeargfunc)core_item,
};

PyTypeObject Core_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Core",
    .tp_doc = "The native half of a loop; as a sequence, its ready queue.",
    .tp_basicsize = sizeof(struct core),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)core_dealloc,
    .tp_traverse = (traverseproc)core_traverse,
    .tp_clear = (inquiry)core_clear,
    .tp_methods = core_methods,
    .tp_as_sequence = &core_sequence,
};
