/* events(): the values a syslet emits, as an asynchronous iterator.
 *
 * A value is built when its atom runs and waits here in a bounded queue; when the queue
 * is full the flight pauses until half of it has been taken. Descriptors in a value
 * belong to the queue until the value is received, and are closed if it never is.
 * The flight starts at the first step and is abandoned when the iterator goes. */
#include "module.h"

#include <unistd.h>

struct event {
    PyObject *value; /* owned */
    int *fds;        /* owned, as are the fds; NULL: none */
    uint32_t fds_count;
};

struct events_object {
    PyObject_HEAD struct run *run; /* owned; NULL: it is over */
    struct event *queue;           /* owned: a ring of `capacity` */
    uint32_t capacity, first, count;
    PyObject *error; /* owned: of a template; raised behind the queued values */
    struct waiter waiter;
    bool busy;   /* a step is being run */
    bool paused; /* the flight, because the queue was full */
};

/* --- the queue ---------------------------------------------------------------------------- */

static int
push(struct events_object *self, PyObject *value, const struct fd_list *fds)
{
    struct event event = {.value = value, .fds_count = fds->count};
    if (fds->count != 0) {
        event.fds = PyMem_Malloc(fds->count * sizeof(int));
        if (event.fds == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(event.fds, fds->fds, fds->count * sizeof(int));
    }
    self->queue[(self->first + self->count) % self->capacity] = event;
    self->count += 1;
    return 0;
}

static struct event
pop(struct events_object *self)
{
    struct event event = self->queue[self->first];
    self->first = (self->first + 1) % self->capacity;
    self->count -= 1;
    return event;
}

static void
discard_fds(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        close(fds[i]);
    }
}

/* --- the flight's side --------------------------------------------------------------------- */

static void
fail(struct events_object *self, struct run *run)
{
    Py_XSETREF(self->error, exception_take());
    flight_cancel(run->flight);
}

static PyObject *
build_event(const struct run *run, uint64_t report, struct fd_list *fds)
{
    const struct plan_object *plan = run->syslet->plan;
    if (report >= plan->emits_count) {
        return PyErr_Format(PyExc_ValueError, "syslet '%U' has no report %llu",
                            run->syslet->name, (unsigned long long)report);
    }
    return node_build(&plan->emits[report], run, fds);
}

static bool
events_emitted(struct run *run, uint64_t report)
{
    struct events_object *self = (struct events_object *)run->owner;
    struct fd_list fds;
    fds.count = 0;
    if (self == NULL || self->error != NULL) {
        return true; /* it is ending */
    }
    Py_INCREF(self); /* a template may call Python */
    PyObject *value = build_event(run, report, &fds);
    if (value == NULL) {
        fail(self, run);
    } else if (run->owner == NULL) {
        Py_DECREF(value); /* left meanwhile: the fds go down with the flight */
    } else {
        fds_take(run, &fds);
        if (push(self, value, &fds) < 0) {
            discard_fds(fds.fds, fds.count);
            Py_DECREF(value);
            fail(self, run);
        }
    }
    waiter_wake(&self->waiter, false);
    self->paused = self->count == self->capacity;
    bool go_on = !self->paused;
    Py_DECREF(self);
    return go_on;
}

static void
events_landed(struct run *run)
{
    struct events_object *self = (struct events_object *)run->owner;
    waiter_wake(&self->waiter, run->place == RUN_LOST);
}

/* --- steps ------------------------------------------------------------------------------------ */

/* Leaves the flight and what it had to say. Detaches before it lets go. */
static void
events_end(struct events_object *self)
{
    struct run *run = self->run;
    self->run = NULL;
    if (run != NULL) {
        run_leave(run);
    }
    while (self->count != 0) {
        struct event event = pop(self);
        discard_fds(event.fds, event.fds_count);
        PyMem_Free(event.fds);
        Py_DECREF(event.value);
    }
    Py_CLEAR(self->error);
}

static PyObject *
receive(struct events_object *self)
{
    struct event event = pop(self);
    PyMem_Free(event.fds);
    if (self->paused && self->count <= self->capacity / 2 && self->run != NULL &&
        self->run->place == RUN_AWAY) {
        struct engine_object *engine = self->run->engine;
        self->paused = false;
        flight_resume(self->run->flight);
        engine_flush(engine);
    }
    return event.value;
}

/* Behind the last value: the error that ended it, or the end. */
static enum outcome
conclude(struct events_object *self)
{
    PyObject *error = self->error;
    struct run *run = self->run;
    self->error = NULL;
    self->run = NULL;
    PyObject *result = NULL;
    if (run != NULL && error == NULL) {
        result = run_collect(run);
        error = result == NULL ? exception_take() : NULL;
    }
    if (run != NULL) {
        run_leave(run);
    }
    Py_XDECREF(result);
    if (error != NULL) {
        exception_raise(error);
    } else {
        PyErr_SetNone(PyExc_StopAsyncIteration);
    }
    return OUTCOME_ERROR;
}

static enum outcome
advance(struct events_object *self, PyObject **result)
{
    if (self->run != NULL && self->run->place == RUN_NEW &&
        run_launch(self->run, NULL) < 0) {
        PyObject *exception = exception_take();
        events_end(self);
        exception_raise(exception);
        return OUTCOME_ERROR;
    }
    if (self->run != NULL && self->run->engine != NULL &&
        !engine_is_mine(self->run->engine)) {
        return OUTCOME_ERROR;
    }
    if (self->count != 0) {
        *result = receive(self);
        return OUTCOME_VALUE;
    }
    if (self->run == NULL || self->run->place != RUN_AWAY) {
        return conclude(self);
    }
    return waiter_is_taken(&self->waiter) ? OUTCOME_ERROR : OUTCOME_WAIT;
}

static int
enter(struct events_object *self)
{
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this iterator is already being run");
        return -1;
    }
    self->busy = true;
    return 0;
}

static enum outcome
next_advance(struct awaitable *step, PyObject **result)
{
    struct events_object *self = (struct events_object *)step->source;
    if (enter(self) < 0) {
        return OUTCOME_ERROR;
    }
    enum outcome outcome = advance(self, result);
    self->busy = false;
    return outcome;
}

static void
next_leave(struct awaitable *step)
{
    waiter_drop(&((struct events_object *)step->source)->waiter, step);
}

static struct waiter *
next_waiter(struct awaitable *step)
{
    return &((struct events_object *)step->source)->waiter;
}

static PyObject *
next_future(struct awaitable *step)
{
    return engine_future(((struct events_object *)step->source)->run->engine);
}

static const struct awaitable_kind next_kind = {
    .noun = "step",
    .advance = next_advance,
    .leave = next_leave,
    .waiter = next_waiter,
    .future = next_future,
};

static enum outcome
close_advance(struct awaitable *step, PyObject **result)
{
    struct events_object *self = (struct events_object *)step->source;
    if (waiter_is_taken(&self->waiter) || enter(self) < 0) {
        return OUTCOME_ERROR;
    }
    events_end(self);
    self->busy = false;
    *result = Py_NewRef(Py_None);
    return OUTCOME_VALUE;
}

static const struct awaitable_kind close_kind = {
    .noun = "step",
    .advance = close_advance,
    .leave = next_leave,
    .waiter = next_waiter,
    .future = next_future,
};

/* --- the type -------------------------------------------------------------------------------------- */

PyObject *
events_new(struct run *run, Py_ssize_t queue)
{
    struct events_object *self = PyObject_GC_New(struct events_object, &Events_Type);
    if (self == NULL) {
        run_leave(run);
        return NULL;
    }
    self->run = run;
    self->queue = PyMem_Calloc((size_t)queue, sizeof(*self->queue));
    self->capacity = (uint32_t)queue;
    self->first = self->count = 0;
    self->error = NULL;
    self->waiter = (struct waiter){NULL, NULL};
    self->busy = self->paused = false;
    run->owner = (PyObject *)self;
    run->landed = events_landed;
    run->emitted = events_emitted;
    PyObject_GC_Track(self);
    if (self->queue == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyObject *
events_anext(PyObject *self)
{
    return step_new(self, &next_kind);
}

static PyObject *
events_aclose(PyObject *self, PyObject *none)
{
    (void)none;
    return step_new(self, &close_kind);
}

static int
events_traverse(struct events_object *self, visitproc visit, void *arg)
{
    Py_VISIT(self->error);
    for (uint32_t i = 0; i < self->count; i++) {
        Py_VISIT(self->queue[(self->first + i) % self->capacity].value);
    }
    return self->run != NULL ? run_traverse(self->run, visit, arg) : 0;
}

static int
events_clear(struct events_object *self)
{
    events_end(self);
    return 0;
}

static void
events_dealloc(struct events_object *self)
{
    PyObject_GC_UnTrack(self);
    PyObject *exception = PyErr_Occurred() ? exception_take() : NULL;
    events_end(self);
    Py_CLEAR(self->waiter.future);
    PyMem_Free(self->queue);
    PyObject_GC_Del(self);
    if (exception != NULL) {
        exception_raise(exception);
    }
}

static PyMethodDef events_methods[] = {
    {"aclose", events_aclose, METH_NOARGS,
     "Give the flight up and close the descriptors of values not received."},
    {NULL, NULL, 0, NULL},
};

static PyAsyncMethods events_async = {
    .am_aiter = PyObject_SelfIter,
    .am_anext = events_anext,
};

PyTypeObject Events_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Events",
    .tp_doc = "The values that one run of a syslet emits, in order.",
    .tp_basicsize = sizeof(struct events_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)events_dealloc,
    .tp_traverse = (traverseproc)events_traverse,
    .tp_clear = (inquiry)events_clear,
    .tp_as_async = &events_async,
    .tp_methods = events_methods,
};
