/* map(): many flights of one syslet at once, as an asynchronous iterator.
 *
 * Items are taken from the iterable only when a flight for them may start: what is in
 * the air and what has landed and was not yet received is never more than `limit`.
 * Landed flights wait in a ring as they are; results are built when they are received,
 * so leaving early has nothing to undo but flights. A flight that lands at once costs
 * no future and no turn of the loop. */
#include "module.h"

enum { PUSH_MIN = 4 }; /* requests that are worth a system call */

struct entry {
    struct run *run;     /* owned; NULL: nothing has landed here yet */
    PyObject *exception; /* owned: it could not start; NULL: it did */
};

struct map_object {
    PyObject_HEAD struct syslet_object *syslet; /* owned */
    struct engine_object *engine;               /* owned; NULL: not started */
    PyObject *iterator;                         /* owned; NULL: exhausted */
    PyObject *error;    /* owned: of the iterable, raised behind the results */
    struct entry *ring; /* owned: `limit` entries */
    struct run **air;   /* owned, as are the runs: `limit` places */
    uint32_t limit, flying;
    uint64_t taken;  /* items */
    uint64_t landed; /* entries in order of landing; unused when ordered */
    uint64_t received;
    struct waiter waiter;
    bool return_exceptions, ordered;
    bool busy; /* a step is being run */
};

/* --- landing ------------------------------------------------------------------------------ */

static void
land(struct map_object *self, struct run *run, PyObject *exception)
{
    uint64_t at = self->ordered ? run->sequence : self->landed;
    struct entry *entry = &self->ring[at % self->limit];
    assert(entry->run == NULL);
    entry->run = run;
    entry->exception = exception;
    self->landed += 1;
}

static void
map_landed(struct run *run)
{
    struct map_object *self = (struct map_object *)run->owner;
    struct run *last = self->air[--self->flying];
    assert(self->air[run->position] == run);
    self->air[run->position] = last;
    last->position = run->position;
    land(self, run, NULL);
    waiter_wake(&self->waiter, run->place == RUN_LOST);
}

/* --- launching ------------------------------------------------------------------------------ */

static int
take_arguments(struct run *run, PyObject *item)
{
    if (PyTuple_Check(item)) {
        PyObject *const *items = ((PyTupleObject *)item)->ob_item;
        return run_arguments(run, items, PyTuple_GET_SIZE(item), NULL);
    }
    return run_arguments(run, &item, 1, NULL);
}

/* From one item to a flight in the air, or to an entry in the ring. */
static int
start(struct map_object *self, PyObject *item)
{
    struct run *run = run_new(self->syslet);
    if (run == NULL) {
        Py_DECREF(item);
        return -1;
    }
    run->item = item;
    run->landed = map_landed;
    run->emitted = NULL;
    run->sequence = self->taken++;
    run->owner = (PyObject *)self;
    if (take_arguments(run, item) < 0 || run_launch(run, self->engine) < 0) {
        land(self, run, exception_take());
        return 0;
    }
    if (run->place == RUN_AWAY) {
        run->position = self->flying;
        self->air[self->flying++] = run;
    } else {
        land(self, run, NULL);
    }
    return 0;
}

static int
take_next(struct map_object *self)
{
    PyObject *item = PyIter_Next(self->iterator);
    if (item != NULL) {
        return start(self, item);
    }
    if (PyErr_Occurred()) {
        Py_XSETREF(self->error, exception_take());
    }
    Py_CLEAR(self->iterator);
    return 0;
}

static bool
may_take(const struct map_object *self)
{
    return self->iterator != NULL && self->taken - self->received < self->limit;
}

static bool
budget_is_spent(const struct map_object *self)
{
    return self->engine->engine != NULL && engine_budget_spent(self->engine->engine);
}

/* While some are in the air, others join them as results are received; not all of them
 * wait until the last result of this turn has been looked at. */
static int
refill(struct map_object *self)
{
    while (self->flying != 0 && may_take(self) && self->engine->engine != NULL &&
           !budget_is_spent(self)) {
        if (take_next(self) < 0) {
            return -1;
        }
    }
    if (self->flying != 0 && self->engine->engine != NULL) {
        engine_push(self->engine->engine, self->limit < 16 ? 2 : PUSH_MIN);
    }
    return 0;
}

/* --- receiving --------------------------------------------------------------------------------- */

/* Leaves everything that is in the air or was not received. */
static void
map_end(struct map_object *self)
{
    while (self->flying != 0) {
        run_leave(self->air[--self->flying]);
    }
    for (uint32_t i = 0; i < self->limit && self->ring != NULL; i++) {
        struct entry entry = self->ring[i];
        self->ring[i] = (struct entry){NULL, NULL};
        Py_XDECREF(entry.exception);
        if (entry.run != NULL) {
            run_leave(entry.run);
        }
    }
    self->received = self->landed = self->taken;
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->error);
}

/* The result of an entry, or its exception as one. NULL: an exception is set. */
static PyObject *
result_of(struct map_object *self, struct entry *entry)
{
    PyObject *exception = entry->exception;
    if (exception == NULL) {
        PyObject *result = run_collect(entry->run);
        if (LIKELY(result != NULL)) {
            return result;
        }
        exception = exception_take();
    }
    if (self->return_exceptions &&
        PyErr_GivenExceptionMatches(exception, PyExc_Exception)) {
        return exception;
    }
    exception_raise(exception);
    return NULL;
}

static PyObject *
receive(struct map_object *self)
{
    struct entry *place = &self->ring[self->received % self->limit];
    struct entry entry = *place;
    *place = (struct entry){NULL, NULL};
    self->received += 1;
    PyObject *result = result_of(self, &entry);
    PyObject *pair = NULL;
    if (result != NULL) {
        pair = PyTuple_New(2);
    }
    if (pair != NULL) {
        PyTuple_SET_ITEM(pair, 0, entry.run->item);
        PyTuple_SET_ITEM(pair, 1, result);
        entry.run->item = NULL;
        run_leave(entry.run);
        return pair;
    }
    PyObject *exception = exception_take();
    Py_XDECREF(result);
    run_leave(entry.run);
    map_end(self);
    exception_raise(exception);
    return NULL;
}

static int
check_engine(struct map_object *self)
{
    struct engine_object *engine = engine_current();
    if (engine == NULL) {
        return -1;
    }
    if (self->engine == NULL) {
        Py_INCREF(engine);
        self->engine = engine;
    }
    if (engine != self->engine) {
        PyErr_Format(PyExc_RuntimeError,
                     "this iterator of syslet '%U' belongs to another loop",
                     self->syslet->name);
        return -1;
    }
    return 0;
}

static enum outcome
conclude(struct map_object *self)
{
    PyObject *error = self->error;
    self->error = NULL;
    if (error != NULL) {
        exception_raise(error);
    } else {
        PyErr_SetNone(PyExc_StopAsyncIteration);
    }
    return OUTCOME_ERROR;
}

static enum outcome
advance(struct map_object *self, PyObject **result)
{
    bool over = self->iterator == NULL && self->taken == self->received;
    if (LIKELY(!over) && check_engine(self) < 0) {
        return OUTCOME_ERROR;
    }
    for (;;) {
        if (self->ring[self->received % self->limit].run != NULL) {
            *result = refill(self) < 0 ? NULL : receive(self);
            return *result != NULL ? OUTCOME_VALUE : OUTCOME_ERROR;
        }
        if (!may_take(self)) {
            break;
        }
        bool spent = budget_is_spent(self);
        if (take_next(self) < 0) {
            return OUTCOME_ERROR;
        }
        if (spent && self->ring[self->received % self->limit].run == NULL) {
            return OUTCOME_AGAIN; /* it waits for the next turn, as others would */
        }
    }
    if (self->flying == 0) {
        return conclude(self);
    }
    return waiter_is_taken(&self->waiter) ? OUTCOME_ERROR : OUTCOME_WAIT;
}

/* --- steps ------------------------------------------------------------------------------------ */

static int
enter(struct map_object *self)
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
    struct map_object *self = (struct map_object *)step->source;
    if (UNLIKELY(enter(self) < 0)) {
        return OUTCOME_ERROR;
    }
    enum outcome outcome = advance(self, result);
    self->busy = false;
    return outcome;
}

static void
next_leave(struct awaitable *step)
{
    waiter_drop(&((struct map_object *)step->source)->waiter, step);
}

static struct waiter *
next_waiter(struct awaitable *step)
{
    return &((struct map_object *)step->source)->waiter;
}

static PyObject *
next_future(struct awaitable *step)
{
    return engine_future(((struct map_object *)step->source)->engine);
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
    struct map_object *self = (struct map_object *)step->source;
    if (waiter_is_taken(&self->waiter) || enter(self) < 0) {
        return OUTCOME_ERROR;
    }
    map_end(self);
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
map_new(struct syslet_object *syslet, PyObject *iterable,
        const struct map_options *options)
{
    PyObject *iterator = PyObject_GetIter(iterable);
    if (iterator == NULL) {
        return NULL;
    }
    struct map_object *self = PyObject_GC_New(struct map_object, &Map_Type);
    if (self == NULL) {
        Py_DECREF(iterator);
        return NULL;
    }
    size_t after_head = offsetof(struct map_object, syslet);
    memset((char *)self + after_head, 0, sizeof(*self) - after_head);
    Py_INCREF(syslet);
    self->syslet = syslet;
    self->iterator = iterator;
    self->limit = (uint32_t)options->limit;
    self->return_exceptions = options->return_exceptions;
    self->ordered = options->ordered;
    self->ring = PyMem_Calloc(self->limit, sizeof(*self->ring));
    self->air = PyMem_Calloc(self->limit, sizeof(struct run *));
    PyObject_GC_Track(self);
    if (self->ring == NULL || self->air == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyObject *
map_anext(PyObject *self)
{
    return step_new(self, &next_kind);
}

static PyObject *
map_aclose(PyObject *self, PyObject *none)
{
    (void)none;
    return step_new(self, &close_kind);
}

static int
map_traverse(struct map_object *self, visitproc visit, void *arg)
{
    Py_VISIT(self->syslet);
    Py_VISIT(self->engine);
    Py_VISIT(self->iterator);
    Py_VISIT(self->error);
    for (uint32_t i = 0; i < self->limit && self->ring != NULL; i++) {
        Py_VISIT(self->ring[i].exception);
        int res = 0;
        if (self->ring[i].run != NULL) {
            res = run_traverse(self->ring[i].run, visit, arg);
        }
        if (res != 0) {
            return res;
        }
    }
    return 0;
}

static int
map_clear(struct map_object *self)
{
    map_end(self);
    return 0;
}

static void
map_dealloc(struct map_object *self)
{
    PyObject_GC_UnTrack(self);
    PyObject *exception = PyErr_Occurred() ? exception_take() : NULL;
    map_end(self);
    Py_CLEAR(self->waiter.future);
    Py_CLEAR(self->syslet);
    Py_CLEAR(self->engine);
    PyMem_Free(self->ring);
    PyMem_Free(self->air);
    PyObject_GC_Del(self);
    if (exception != NULL) {
        exception_raise(exception);
    }
}

static PyMethodDef map_methods[] = {
    {"aclose", map_aclose, METH_NOARGS, "Give up every flight in the air."},
    {NULL, NULL, 0, NULL},
};

static PyAsyncMethods map_async = {
    .am_aiter = PyObject_SelfIter,
    .am_anext = map_anext,
};

PyTypeObject Map_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Map",
    .tp_doc = "Pairs of an item and the result of the syslet for it.",
    .tp_basicsize = sizeof(struct map_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)map_dealloc,
    .tp_traverse = (traverseproc)map_traverse,
    .tp_clear = (inquiry)map_clear,
    .tp_as_async = &map_async,
    .tp_methods = map_methods,
};
