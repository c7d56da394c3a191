/* The awaitables of streams: what read(), readline() or drain() return.
 *
 * Each is what a coroutine of asyncio.streams would be: nothing happens before the
 * first step; what can be had at once is returned by that step, without a future;
 * otherwise it passes on what a future or another coroutine yields, and goes on when
 * that returns. What differs is behind reading_kind. To asyncio it is a coroutine.
 *
 *   state     on                          becomes
 *   NEW       first step                  RUNNING
 *   RUNNING   result or exception         DONE
 *   RUNNING   must wait                   WAITING
 *   WAITING   next step, throw            RUNNING
 *   NEW       throw                       DONE
 *   NEW, WAITING   close, end of life     DONE */
#include "reader.h"

enum { FREE_MAX = 128 };

static struct reading *free_list; /* owned: linked by `object` */
static uint32_t free_count;

/* --- steps ------------------------------------------------------------------------------ */

/* Nothing of what it held is needed; may run any Python code. */
static void
end(struct reading *self)
{
    self->phase = READING_DONE;
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->separator);
    Py_CLEAR(self->state);
    Py_CLEAR(self->object);
}

/* As the body of a coroutine: its StopIteration would look like a result. */
static PyObject *
exception_of_body(void)
{
    PyObject *exception = exception_take();
    if (PyErr_GivenExceptionMatches(exception, PyExc_StopIteration)) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
        PyObject *replaced = exception_take();
        PyException_SetCause(replaced, Py_NewRef(exception));
        PyException_SetContext(replaced, exception);
        return replaced;
    }
    return exception;
}

static PySendResult
fail(struct reading *self, PyObject **result)
{
    *result = self->kind->rescue != NULL ? self->kind->rescue(self) : NULL;
    PyObject *exception = *result == NULL ? exception_of_body() : NULL;
    end(self);
    if (exception == NULL) {
        return PYGEN_RETURN;
    }
    exception_raise(exception);
    return PYGEN_ERROR;
}

/* What was waited for has returned or raised; false: the exception goes on. */
static bool
settle(struct reading *self, PySendResult sent, PyObject **result)
{
    PyObject *exception = sent == PYGEN_ERROR ? exception_take() : NULL;
    Py_CLEAR(*result);
    Py_CLEAR(self->iterator);
    self->kind->woken(self);
    if (UNLIKELY(exception != NULL)) {
        exception_raise(exception);
    }
    return exception == NULL;
}

enum reading_outcome
reading_wait(struct reading *self, PyObject *awaitable)
{
    if (UNLIKELY(awaitable == NULL)) {
        return READING_ERROR;
    }
    const PyAsyncMethods *async = Py_TYPE(awaitable)->tp_as_async;
    if (UNLIKELY(async == NULL || async->am_await == NULL)) {
        PyErr_Format(PyExc_TypeError, "object %s can't be used in 'await' expression",
                     Py_TYPE(awaitable)->tp_name);
    } else {
        self->iterator = async->am_await(awaitable);
    }
    Py_DECREF(awaitable);
    return self->iterator == NULL ? READING_ERROR : READING_WAIT;
}

static PySendResult
suspend(struct reading *self)
{
    self->phase = READING_WAITING;
    return PYGEN_NEXT;
}

static PySendResult
go_on(struct reading *self, PyObject **result)
{
    self->phase = READING_RUNNING;
    enum reading_outcome outcome;
    while ((outcome = self->kind->advance(self, result)) == READING_WAIT) {
        PySendResult sent = PyIter_Send(self->iterator, Py_None, result);
        if (LIKELY(sent == PYGEN_NEXT)) {
            return suspend(self);
        }
        if (!settle(self, sent, result)) {
            return fail(self, result);
        }
    }
    if (LIKELY(outcome == READING_VALUE)) {
        end(self);
        return PYGEN_RETURN;
    }
    if (outcome == READING_YIELD) {
        *result = Py_NewRef(Py_None);
        return suspend(self);
    }
    return fail(self, result);
}

/* A future that yields once more has not been waited for by whoever takes this step:
 * two tasks share the awaitable. It is found here and not in am_await, which anext()
 * calls before every step. */
static PySendResult
refuse_second(struct reading *self, PyObject **result)
{
    PyObject *future = *result;
    *result = NULL;
    self->phase = READING_WAITING;
    if (PyObject_SetAttrString(future, "_asyncio_future_blocking", Py_False) == 0) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
    }
    Py_DECREF(future);
    return PYGEN_ERROR;
}

/* What was waited for answered to a step or a throw. */
static PySendResult
answered(struct reading *self, PySendResult sent, PyObject **result)
{
    if (UNLIKELY(sent == PYGEN_NEXT)) {
        return self->kind->waits_for_future ? refuse_second(self, result)
                                            : suspend(self);
    }
    return settle(self, sent, result) ? go_on(self, result) : fail(self, result);
}

static PySendResult
refuse_step(const struct reading *self)
{
    if (self->phase == READING_RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    } else {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    return PYGEN_ERROR;
}

static inline PySendResult
step(struct reading *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (self->phase == READING_NEW) {
        return go_on(self, result);
    }
    if (UNLIKELY(self->phase != READING_WAITING)) {
        return refuse_step(self);
    }
    if (self->iterator == NULL) {
        return go_on(self, result);
    }
    self->phase = READING_RUNNING;
    return answered(self, PyIter_Send(self->iterator, value, result), result);
}

/* --- the protocols -------------------------------------------------------------------------- */

static PySendResult
reading_am_send(struct reading *self, PyObject *value, PyObject **result)
{
    if (UNLIKELY(value != Py_None && self->phase == READING_NEW)) {
        PyErr_SetString(PyExc_TypeError,
                        "can't send non-None value to a just-started coroutine");
        *result = NULL;
        return PYGEN_ERROR;
    }
    return step(self, value, result);
}

static PyObject *
reading_iternext(struct reading *self)
{
    PyObject *result;
    if (step(self, Py_None, &result) == PYGEN_RETURN) {
        stop_with(result);
        return NULL;
    }
    return result;
}

/* What a method returns: a result is raised, in a StopIteration of its own. */
static PyObject *
handed_over(PySendResult sent, PyObject *result)
{
    if (sent != PYGEN_RETURN) {
        return result;
    }
    PyObject *exception = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (exception != NULL) {
        exception_raise(exception);
    }
    return NULL;
}

static PyObject *
reading_send(struct reading *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = reading_am_send(self, value, &result);
    return handed_over(sent, result);
}

/* The exception of throw's arguments, raised here. */
static PySendResult
throw_here(struct reading *self, PyObject *const *args, Py_ssize_t count,
           PyObject **result)
{
    bool started = self->phase != READING_NEW;
    PyObject *exception = thrown(args, count);
    if (exception == NULL) {
        return PYGEN_ERROR; /* the caller's mistake */
    }
    if (started) {
        exception_raise(exception);
        return fail(self, result);
    }
    end(self);
    exception_raise(exception);
    return PYGEN_ERROR;
}

/* What is waited for gets it first. */
static PySendResult
throw_there(struct reading *self, PyObject *const *args, Py_ssize_t count,
            PyObject **result)
{
    self->phase = READING_RUNNING;
    PyObject *throw_ = PyObject_GetAttr(self->iterator, stream_names.throw_);
    if (throw_ != NULL) {
        *result = PyObject_Vectorcall(throw_, args, (size_t)count, NULL);
        Py_DECREF(throw_);
    }
    PySendResult sent = *result != NULL ? PYGEN_NEXT : PYGEN_ERROR;
    if (sent == PYGEN_ERROR && PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyErr_Clear();
        sent = PYGEN_RETURN;
    }
    return answered(self, sent, result);
}

static PyObject *
reading_throw(struct reading *self, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 3) {
        return PyErr_Format(PyExc_TypeError, "throw() takes 1 to 3 arguments, not %zd",
                            count);
    }
    if (self->phase == READING_RUNNING || self->phase == READING_DONE) {
        refuse_step(self);
        return NULL;
    }
    PyObject *result = NULL;
    PySendResult sent = self->iterator == NULL
                            ? throw_here(self, args, count, &result)
                            : throw_there(self, args, count, &result);
    return handed_over(sent, result);
}

/* -1: what was waited for raised something. */
static int
give_up(struct reading *self)
{
    PyObject *res = NULL;
    bool waits = self->phase == READING_WAITING && self->iterator != NULL;
    self->phase = READING_RUNNING;
    if (waits) {
        res = PyObject_CallMethodNoArgs(self->iterator, stream_names.close);
        settle(self, res == NULL ? PYGEN_ERROR : PYGEN_RETURN, &res);
    }
    PyObject *exception = PyErr_Occurred() ? exception_take() : NULL;
    end(self);
    if (exception != NULL) {
        exception_raise(exception);
        return -1;
    }
    return 0;
}

static PyObject *
reading_close(struct reading *self, PyObject *none)
{
    (void)none;
    if (self->phase == READING_RUNNING) {
        refuse_step(self);
        return NULL;
    }
    if (self->phase != READING_DONE && give_up(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- life --------------------------------------------------------------------------------------- */

struct reading *
reading_new(const struct reading_kind *kind, PyObject *object, PyObject *state)
{
    struct reading *self = free_list;
    if (LIKELY(self != NULL)) {
        free_list = (struct reading *)self->object;
        free_count -= 1;
        (void)PyObject_Init((PyObject *)self, &Reading_Type);
    } else {
        self = PyObject_GC_New(struct reading, &Reading_Type);
        if (self == NULL) {
            return NULL;
        }
        self->iterator = NULL;
        self->separator = NULL;
    }
    self->kind = kind;
    self->object = Py_NewRef(object);
    self->state = Py_NewRef(state);
    self->phase = READING_NEW;
    self->stage = 0;
    self->offset = 0;
    PyObject_GC_Track(self);
    return self;
}

static int
reading_traverse(struct reading *self, visitproc visit, void *arg)
{
    Py_VISIT(self->object);
    Py_VISIT(self->state);
    Py_VISIT(self->iterator);
    return 0;
}

static int
reading_clear(struct reading *self)
{
    end(self);
    return 0;
}

static void
reading_finalize(struct reading *self)
{
    PyObject *exception = PyErr_Occurred() ? exception_take() : NULL;
    if (self->phase == READING_NEW &&
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited",
                         self->kind->name) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    if (self->phase != READING_DONE && give_up(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    if (exception != NULL) {
        exception_raise(exception);
    }
}

static void
reading_dealloc(struct reading *self)
{
    PyObject *object = (PyObject *)self;
    if (UNLIKELY(self->phase != READING_DONE) &&
        PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    PyObject_GC_UnTrack(object);
    end(self); /* for one that the collector had finalized and somebody used again */
    if (free_count < FREE_MAX && !PyObject_GC_IsFinalized(object)) {
        self->object = (PyObject *)free_list;
        free_list = self;
        free_count += 1;
    } else {
        PyObject_GC_Del(object);
    }
}

/* --- the type ------------------------------------------------------------------------------------- */

static PyObject *
reading_await(struct reading *self)
{
    if (UNLIKELY(self->phase == READING_RUNNING)) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(self);
}

static PyObject *
reading_name(struct reading *self, void *none)
{
    (void)none;
    return PyUnicode_FromString(strrchr(self->kind->name, '.') + 1);
}

static PyObject *
reading_qualname(struct reading *self, void *none)
{
    (void)none;
    return PyUnicode_FromString(self->kind->name);
}

static PyObject *
reading_repr(struct reading *self)
{
    static const char *const states[] = {"not awaited", "running", "waiting", "done"};
    return PyUnicode_FromFormat("<coroutine object %s, %s>", self->kind->name,
                                states[self->phase]);
}

static PyMethodDef reading_methods[] = {
    {"send", (PyCFunction)reading_send, METH_O, "Go on, as a coroutine does."},
    {"throw", (PyCFunction)(void (*)(void))reading_throw, METH_FASTCALL,
     "Raise the exception where it waits."},
    {"close", (PyCFunction)reading_close, METH_NOARGS, "Give up."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef reading_getset[] = {
    {"__name__", (getter)reading_name, NULL, "Name of the method.", NULL},
    {"__qualname__", (getter)reading_qualname, NULL, "Qualified name.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyAsyncMethods reading_async = {
    .am_await = (unaryfunc)reading_await,
    .am_send = (sendfunc)reading_am_send,
};

PyTypeObject Reading_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Reading",
    .tp_doc = "A call of a stream's coroutine method, to be awaited once.",
    .tp_basicsize = sizeof(struct reading),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)reading_dealloc,
    .tp_finalize = (destructor)reading_finalize,
    .tp_traverse = (traverseproc)reading_traverse,
    .tp_clear = (inquiry)reading_clear,
    .tp_as_async = &reading_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)reading_iternext,
    .tp_repr = (reprfunc)reading_repr,
    .tp_methods = reading_methods,
    .tp_getset = reading_getset,
};
