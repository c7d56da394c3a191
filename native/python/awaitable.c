/* The awaitables: Flight, the coroutine-like object of one run, and Step, one step of
 * an iterator over events or a map.
 *
 * Both are the same machine: nothing happens before the first step; what ends at once
 * is returned by that step, without a future; otherwise the task suspends on an exact
 * asyncio.Future, which the landing wakes. What differs is behind awaitable_kind. They
 * look like coroutines to asyncio, and never like futures.
 *
 *   state     on                     becomes
 *   NEW       first step             RUNNING
 *   RUNNING   value or error         DONE
 *   RUNNING   must wait              WAITING
 *   WAITING   next step              RUNNING
 *   NEW, WAITING   throw, close, end of life    DONE, and what runs is left behind */
#include "module.h"

enum { FREE_MAX = 128 };

static struct awaitable *free_list; /* owned: linked by `source` */
static uint32_t free_count;

/* --- waiting ------------------------------------------------------------------------------- */

/* The task that runs now, to be compared only; NULL: there is none. -1: exception. */
static int
ask_task(const void **task)
{
    static PyObject *current; /* owned for ever */
    PyObject *function = module_attribute(&current, "asyncio", "current_task");
    PyObject *object = function == NULL ? NULL : PyObject_CallNoArgs(function);
    if (object == NULL && !PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        return -1;
    }
    PyErr_Clear(); /* no loop runs here */
    *task = object == Py_None ? NULL : object;
    Py_XDECREF(object);
    return 0;
}

/* The same for somebody who is about to wait for this future of the running loop. */
static int
note_task(const void **task, PyObject *future)
{
#if PY_VERSION_HEX >= 0x030c0000
    (void)future;
    return ask_task(task);
#else /* current_task() is written in Python, and slow; it reads this dict */
    static PyObject *tasks; /* owned for ever */
    PyObject *dict = module_attribute(&tasks, "asyncio.tasks", "_current_tasks");
    PyObject *loop = dict == NULL ? NULL : PyObject_GetAttr(future, names.future_loop);
    if (loop == NULL) {
        return -1;
    }
    *task = PyDict_GetItemWithError(dict, loop);
    Py_DECREF(loop);
    return PyErr_Occurred() ? -1 : 0;
#endif
}

/* Makes the future, and gives it to the task. */
static PySendResult
begin_waiting(struct awaitable *self, PyObject **result)
{
    struct waiter *waiter = self->kind->waiter(self);
    PyObject *future = self->kind->future(self);
    if (future == NULL || note_task(&self->task, future) < 0) {
        Py_XDECREF(future);
        return PYGEN_ERROR;
    }
    unaryfunc await = Py_TYPE(future)->tp_as_async->am_await;
    self->iterator = await(future);
    waiter->holder = self;
    Py_XSETREF(waiter->future, future);
    if (self->iterator == NULL) {
        return PYGEN_ERROR;
    }
    return PyIter_Send(self->iterator, Py_None, result);
}

/* As sleep(0) does it: a task that is given None is called again in the next tick. */
static PySendResult
let_others_run(struct awaitable *self, PyObject **result)
{
    if (ask_task(&self->task) < 0) {
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(Py_None);
    return PYGEN_NEXT;
}

/* --- steps ----------------------------------------------------------------------------------- */

/* Nobody comes back for the result. */
static void
leave(struct awaitable *self)
{
    self->state = AWAIT_DONE;
    Py_CLEAR(self->iterator);
    self->kind->leave(self);
}

static PySendResult
go_on(struct awaitable *self, PyObject **result)
{
    self->state = AWAIT_RUNNING;
    enum outcome outcome = self->kind->advance(self, result);
    if (LIKELY(outcome == OUTCOME_VALUE)) {
        self->state = AWAIT_DONE;
        return PYGEN_RETURN;
    }
    if (outcome == OUTCOME_WAIT || outcome == OUTCOME_AGAIN) {
        PySendResult sent = outcome == OUTCOME_WAIT ? begin_waiting(self, result)
                                                    : let_others_run(self, result);
        if (sent == PYGEN_NEXT) {
            self->state = AWAIT_WAITING;
            return PYGEN_NEXT;
        }
    }
    PyObject *exception = exception_take();
    leave(self);
    exception_raise(exception);
    return PYGEN_ERROR;
}

/* The future's answer first, if there is one: the wake-up, or the cancellation of the task. */
static PySendResult
step_waiting(struct awaitable *self, PyObject **result)
{
    if (self->iterator == NULL) {
        return go_on(self, result);
    }
    self->state = AWAIT_RUNNING;
    PyObject *answer;
    PySendResult sent = PyIter_Send(self->iterator, Py_None, &answer);
    if (sent == PYGEN_NEXT) {
        self->state = AWAIT_WAITING;
        *result = answer;
        return PYGEN_NEXT;
    }
    if (sent == PYGEN_ERROR) {
        PyObject *exception = exception_take();
        leave(self);
        exception_raise(exception);
        return PYGEN_ERROR;
    }
    Py_DECREF(answer);
    Py_CLEAR(self->iterator);
    waiter_drop(self->kind->waiter(self), self); /* somebody else set its result */
    return go_on(self, result);
}

static PySendResult
refuse_step(const struct awaitable *self)
{
    if (self->state == AWAIT_RUNNING) {
        PyErr_SetString(PyExc_ValueError, "awaitable is already being run");
    } else {
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited %s",
                     self->kind->noun);
    }
    return PYGEN_ERROR;
}

static bool
is_pending(struct awaitable *self)
{
    const struct waiter *waiter = self->kind->waiter(self);
    if (waiter->future == NULL || waiter->holder != self) {
        return false;
    }
    PyObject *done = PyObject_CallMethodNoArgs(waiter->future, names.done);
    Py_XDECREF(done);
    return done == Py_False;
}

/* Before a step of one that waits and was asked for its iterator meanwhile. As with
 * coroutines two tasks must not share one wait, whose end would be both's. Only the step
 * shows who asked: anext() with a default has the one task ask before each of its steps,
 * and before throw() and close(). */
static int
refuse_second(struct awaitable *self)
{
    const void *task;
    self->is_asked = false;
    if (ask_task(&task) < 0) {
        return -1;
    }
    if (task == self->task && !is_pending(self)) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError, "this %s is being awaited already",
                 self->kind->noun);
    return -1;
}

static inline PySendResult
step(struct awaitable *self, PyObject **result)
{
    *result = NULL;
    if (LIKELY(self->state == AWAIT_NEW)) {
        return go_on(self, result);
    }
    if (self->state == AWAIT_WAITING) {
        bool refused = UNLIKELY(self->is_asked) && refuse_second(self) < 0;
        return refused ? PYGEN_ERROR : step_waiting(self, result);
    }
    return refuse_step(self);
}

/* --- the protocols ----------------------------------------------------------------------------- */

static PySendResult
awaitable_am_send(struct awaitable *self, PyObject *value, PyObject **result)
{
    if (UNLIKELY(value != Py_None && self->state == AWAIT_NEW)) {
        PyErr_SetString(PyExc_TypeError,
                        "can't send non-None value to a just-started coroutine");
        *result = NULL;
        return PYGEN_ERROR;
    }
    return step(self, result);
}

PyObject *
awaitable_iternext(struct awaitable *self)
{
    PyObject *result;
    if (step(self, &result) == PYGEN_RETURN) {
        stop_with(result);
        return NULL;
    }
    return result;
}

static PyObject *
awaitable_send(struct awaitable *self, PyObject *value)
{
    PyObject *result;
    if (awaitable_am_send(self, value, &result) != PYGEN_RETURN) {
        return result;
    }
    PyObject *exception = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (exception != NULL) {
        exception_raise(exception);
    }
    return NULL;
}

PyObject *
thrown(PyObject *const *args, Py_ssize_t count)
{
    PyObject *type = args[0];
    PyObject *value = count > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *traceback = count > 2 && args[2] != Py_None ? args[2] : NULL;
    PyObject *exception = NULL;
    if (PyExceptionInstance_Check(type)) {
        exception = Py_NewRef(type);
    } else if (!PyExceptionClass_Check(type)) {
        return PyErr_Format(PyExc_TypeError,
                            "exceptions must be classes or instances "
                            "deriving from BaseException, not %s",
                            Py_TYPE(type)->tp_name);
    } else if (value != NULL && PyObject_TypeCheck(value, (PyTypeObject *)type)) {
        exception = Py_NewRef(value);
    } else {
        exception = value == NULL ? PyObject_CallNoArgs(type)
                                  : PyObject_CallOneArg(type, value);
    }
    if (exception != NULL && traceback != NULL &&
        PyException_SetTraceback(exception, traceback) < 0) {
        Py_CLEAR(exception);
    }
    if (exception != NULL && !PyExceptionInstance_Check(exception)) {
        Py_CLEAR(exception);
        PyErr_SetString(PyExc_TypeError, "no exception was made");
    }
    return exception;
}

static PyObject *
awaitable_throw(struct awaitable *self, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 3) {
        return PyErr_Format(PyExc_TypeError, "throw() takes 1 to 3 arguments, not %zd",
                            count);
    }
    if (self->state == AWAIT_RUNNING || self->state == AWAIT_DONE) {
        refuse_step(self);
        return NULL;
    }
    PyObject *exception = thrown(args, count);
    if (exception != NULL) {
        leave(self);
        exception_raise(exception);
    }
    return NULL;
}

static PyObject *
awaitable_close(struct awaitable *self, PyObject *none)
{
    (void)none;
    if (self->state == AWAIT_RUNNING) {
        refuse_step(self);
        return NULL;
    }
    if (self->state != AWAIT_DONE) {
        leave(self);
    }
    Py_RETURN_NONE;
}

/* --- life ------------------------------------------------------------------------------------------ */

void
awaitable_begin(struct awaitable *self, const struct awaitable_kind *kind)
{
    self->kind = kind;
    self->state = AWAIT_NEW;
    self->run = NULL;
    self->iterator = NULL;
    self->waiter = (struct waiter){NULL, NULL};
    self->task = NULL;
    self->is_wrapped = self->is_finalized = self->is_asked = false;
}

static struct awaitable *
awaitable_new(PyTypeObject *type, const struct awaitable_kind *kind)
{
    struct awaitable *self = free_list;
    if (LIKELY(self != NULL)) {
        free_list = (struct awaitable *)self->source;
        free_count -= 1;
        self->source = NULL;
        (void)PyObject_Init((PyObject *)self, type);
    } else {
        self = PyObject_GC_New(struct awaitable, type);
        if (self == NULL) {
            return NULL;
        }
        self->source = NULL;
    }
    awaitable_begin(self, kind);
    return self;
}

static int
awaitable_traverse(struct awaitable *self, visitproc visit, void *arg)
{
    Py_VISIT(self->source);
    Py_VISIT(self->iterator);
    return self->run != NULL ? run_traverse(self->run, visit, arg) : 0;
}

int
awaitable_clear(struct awaitable *self)
{
    if (self->state != AWAIT_DONE) {
        leave(self);
    }
    Py_CLEAR(self->source);
    return 0;
}

void
awaitable_finalize(struct awaitable *self)
{
    PyObject *exception = PyErr_Occurred() ? exception_take() : NULL;
    self->is_finalized = true;
    const struct awaitable_kind *kind = self->kind;
    if (self->state == AWAIT_NEW && kind->name != NULL && !self->is_wrapped &&
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "%s '%U' was never awaited",
                         kind->noun, kind->name(self)) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    if (self->state != AWAIT_DONE) {
        leave(self);
    }
    if (exception != NULL) {
        exception_raise(exception);
    }
}

static void
awaitable_dealloc(struct awaitable *self)
{
    PyObject *object = (PyObject *)self;
    if (UNLIKELY(self->state != AWAIT_DONE) &&
        PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->source);
    assert(self->run == NULL && self->iterator == NULL && self->waiter.future == NULL);
    /* One that was finalized would not be finalized again. */
    if (free_count < FREE_MAX && !self->is_finalized) {
        self->source = (PyObject *)free_list;
        free_list = self;
        free_count += 1;
    } else {
        PyObject_GC_Del(object);
    }
}

/* --- Flight ------------------------------------------------------------------------------------------ */

static void
flight_landed(struct run *run)
{
    struct awaitable *self = (struct awaitable *)run->owner;
    waiter_wake(&self->waiter, run->place == RUN_LOST);
}

static void
flight_leave(struct awaitable *self)
{
    struct run *run = self->run;
    self->run = NULL;
    waiter_drop(&self->waiter, self);
    if (run != NULL) {
        run_leave(run);
    }
}

static enum outcome
flight_advance(struct awaitable *self, PyObject **result)
{
    struct run *run = self->run;
    if (run->place == RUN_NEW && run_launch(run, NULL) < 0) {
        return OUTCOME_ERROR;
    }
    if (run->place == RUN_AWAY) {
        /* This task waits now. The next one has a budget of its own: else every launch
         * of this tick would be cut once one was, at ten times the price. */
        engine_budget_reset(run->engine->engine);
        return OUTCOME_WAIT;
    }
    *result = run_collect(run);
    if (UNLIKELY(*result == NULL)) {
        return OUTCOME_ERROR;
    }
    self->run = NULL;
    run_leave(run);
    return OUTCOME_VALUE;
}

static struct waiter *
flight_waiter(struct awaitable *self)
{
    return &self->waiter;
}

static PyObject *
flight_future(struct awaitable *self)
{
    return engine_future(self->run->engine);
}

static PyObject *
flight_name_of(struct awaitable *self)
{
    return self->run->syslet->name;
}

static const struct awaitable_kind flight_kind = {
    .noun = "syslet",
    .name = flight_name_of,
    .advance = flight_advance,
    .leave = flight_leave,
    .waiter = flight_waiter,
    .future = flight_future,
};

PyObject *
flight_new(struct run *run)
{
    struct awaitable *self = awaitable_new(&Flight_Type, &flight_kind);
    if (self == NULL) {
        run_leave(run);
        return NULL;
    }
    self->run = run;
    self->source = Py_NewRef(run->syslet);
    run->owner = (PyObject *)self;
    run->landed = flight_landed;
    run->emitted = NULL;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PyObject *
flight_name(struct awaitable *self, void *which)
{
    const struct syslet_object *syslet = (const struct syslet_object *)self->source;
    return Py_NewRef(which == NULL ? syslet->name : syslet->qualname);
}

static PyObject *
flight_repr(struct awaitable *self)
{
    static const char *const states[] = {"not awaited", "running", "in the air",
                                         "done"};
    const struct syslet_object *syslet = (const struct syslet_object *)self->source;
    return PyUnicode_FromFormat("<flight of %U, %s>", syslet->qualname,
                                states[self->state]);
}

/* --- Step --------------------------------------------------------------------------------------------- */

PyObject *
step_new(PyObject *source, const struct awaitable_kind *kind)
{
    struct awaitable *self = awaitable_new(&Step_Type, kind);
    if (self == NULL) {
        return NULL;
    }
    self->source = Py_NewRef(source);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* --- the types ------------------------------------------------------------------------------------------ */

PyMethodDef awaitable_methods[] = {
    {"send", (PyCFunction)awaitable_send, METH_O, "Go on, as a coroutine does."},
    {"throw", (PyCFunction)(void (*)(void))awaitable_throw, METH_FASTCALL,
     "Give up what is in the air and raise the exception."},
    {"close", (PyCFunction)awaitable_close, METH_NOARGS, "Give up what is in the air."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef flight_getset[] = {
    {"__name__", (getter)flight_name, NULL, "Name of the syslet.", NULL},
    {"__qualname__", (getter)flight_name, NULL, "Qualified name of the syslet.", ""},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *
awaitable_await(struct awaitable *self)
{
    self->is_asked = self->state == AWAIT_WAITING;
    if (UNLIKELY(self->state == AWAIT_RUNNING)) {
        PyErr_Format(PyExc_RuntimeError, "this %s is being awaited already",
                     self->kind->noun);
        return NULL;
    }
    return Py_NewRef(self);
}

PyAsyncMethods awaitable_async = {
    .am_await = (unaryfunc)awaitable_await,
    .am_send = (sendfunc)awaitable_am_send,
};

PyTypeObject Flight_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Flight",
    .tp_doc = "One run of a syslet, to be awaited once. Runs nothing before that.",
    .tp_basicsize = sizeof(struct awaitable),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)awaitable_dealloc,
    .tp_finalize = (destructor)awaitable_finalize,
    .tp_traverse = (traverseproc)awaitable_traverse,
    .tp_clear = (inquiry)awaitable_clear,
    .tp_as_async = &awaitable_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)awaitable_iternext,
    .tp_repr = (reprfunc)flight_repr,
    .tp_methods = awaitable_methods,
    .tp_getset = flight_getset,
};

PyTypeObject Step_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Step",
    .tp_doc = "The next value of an iterator over events or results.",
    .tp_basicsize = sizeof(struct awaitable),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)awaitable_dealloc,
    .tp_finalize = (destructor)awaitable_finalize,
    .tp_traverse = (traverseproc)awaitable_traverse,
    .tp_clear = (inquiry)awaitable_clear,
    .tp_as_async = &awaitable_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)awaitable_iternext,
    .tp_methods = awaitable_methods,
};
