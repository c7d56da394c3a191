/* StreamReader in C: what a transport or a protocol does to it, and the methods of the
 * class. Its state is readerstate.c's; what its callers await is in readops.c.
 *
 * The order of the steps is asyncio's: transports and futures are called in the state
 * in which asyncio calls them, and nothing is remembered across such a call. */
#include "reader.h"

/* --- the transport ---------------------------------------------------------------------- */

/* transport.method(). -1: exception. */
static int
tell_transport(const struct reader_state *state, PyObject *method)
{
    PyObject *transport = Py_NewRef(state->transport);
    PyObject *res = PyObject_CallMethodNoArgs(transport, method);
    Py_DECREF(transport);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

int
reader_resume(struct reader_state *state)
{
    if (LIKELY(!state->paused)) {
        return 0;
    }
    state->paused = false;
    return tell_transport(state, stream_names.resume_reading);
}

int
reader_resume_within_limit(struct reader_state *state)
{
    if (LIKELY(!state->paused || Py_SIZE(state->buffer) > state->limit_floor)) {
        return 0;
    }
    return reader_resume(state);
}

static int
pause_transport(struct reader_state *state)
{
    if (state->transport == Py_None || state->paused) {
        return 0;
    }
    if (tell_transport(state, stream_names.pause_reading) == 0) {
        state->paused = true;
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
        return -1;
    }
    PyErr_Clear();
    Py_SETREF(state->transport, Py_NewRef(Py_None)); /* not to be asked again */
    return 0;
}

/* asyncio.Future and its method, where neither can be changed; else NULL. */
static PyTypeObject *future_class;  /* owned for ever */
static PyObject *future_set_result; /* owned for ever */

/* --- waking ----------------------------------------------------------------------------- */

int
reader_init(void)
{
    PyObject *class = NULL;
    if (future_class != NULL) {
        return 0;
    }
    if (module_attribute(&class, "asyncio", "Future") == NULL) {
        return -1;
    }
    const unsigned long flags = PyType_Check(class)
                                    ? PyType_GetFlags((PyTypeObject *)class)
                                    : Py_TPFLAGS_HEAPTYPE;
    if ((flags & Py_TPFLAGS_HEAPTYPE) && !(flags & Py_TPFLAGS_IMMUTABLETYPE)) {
        Py_DECREF(class);
        return 0;
    }
    future_set_result = PyObject_GetAttr(class, stream_names.set_result);
    if (future_set_result == NULL) {
        Py_DECREF(class);
        return -1;
    }
    future_class = (PyTypeObject *)class;
    return 0;
}

/* The waiter did not take its result. asyncio asks first whether it was cancelled; the
 * answer is the same. -1: it was not, and the exception stays. */
static int
forgive_cancelled(PyObject *waiter)
{
    PyObject *exception = exception_take();
    PyObject *cancelled = PyObject_CallMethodNoArgs(waiter, stream_names.cancelled);
    int res = cancelled == Py_True ? 0 : -1;
    PyErr_Clear();
    Py_XDECREF(cancelled);
    if (res == 0) {
        Py_DECREF(exception);
    } else {
        exception_raise(exception);
    }
    return res;
}

/* Ends the wait: waiter.method(value), unless its task was cancelled. -1: exception. */
static int
wake(struct reader_state *state, PyObject *method, PyObject *value)
{
    PyObject *waiter = state->waiter;
    if (waiter == Py_None) {
        return 0;
    }
    state->waiter = Py_NewRef(Py_None);
    PyObject *args[] = {waiter, value};
    PyObject *done =
        LIKELY(method == stream_names.set_result && Py_IS_TYPE(waiter, future_class))
            ? PyObject_Vectorcall(future_set_result, args, 2, NULL)
            : PyObject_VectorcallMethod(method, args, 2, NULL);
    int res = LIKELY(done != NULL) ? 0 : forgive_cancelled(waiter);
    Py_XDECREF(done);
    Py_DECREF(waiter);
    return res;
}

/* --- feeding ------------------------------------------------------------------------------ */

static int
feed(struct reader_state *state, const char *data, Py_ssize_t size)
{
    if (UNLIKELY(state->eof)) {
        PyErr_SetString(PyExc_AssertionError, "feed_data after feed_eof");
        return -1;
    }
    if (UNLIKELY(size == 0)) {
        return 0;
    }
    if (queue_append(state->buffer, data, size) < 0 ||
        wake(state, stream_names.set_result, Py_None) < 0) {
        return -1;
    }
    return LIKELY(Py_SIZE(state->buffer) <= state->limit_twice)
               ? 0
               : pause_transport(state);
}

/* The reader's own method, whatever it is. */
static int
feed_object(const struct reader_state *state, const char *data, Py_ssize_t size)
{
    PyObject *reader = stream_referent(state->reference);
    PyObject *bytes = reader == NULL ? NULL : PyBytes_FromStringAndSize(data, size);
    PyObject *res =
        bytes == NULL
            ? NULL
            : PyObject_CallMethodOneArg(reader, stream_names.feed_data, bytes);
    int failed = reader != NULL && res == NULL;
    Py_XDECREF(res);
    Py_XDECREF(bytes);
    Py_XDECREF(reader);
    return failed ? -1 : 0;
}

int
reader_feed(PyObject *feeder, const char *data, Py_ssize_t size)
{
    struct reader_state *state = ((struct feeder *)feeder)->state;
    if (UNLIKELY(state == NULL)) {
        return 0; /* nobody reads any more: asyncio drops it as well */
    }
    Py_INCREF(state);
    int res = LIKELY(!state->patched) ? feed(state, data, size)
                                      : feed_object(state, data, size);
    Py_DECREF(state);
    return res;
}

/* --- methods ---------------------------------------------------------------------------------- */

/* The methods of the instance are those of our class. */
static inline bool
is_plain(PyObject *reader)
{
    if (UNLIKELY(Py_TYPE(reader) != reader_class.ours)) {
        return false;
    }
    PyObject *dict = stream_dict(reader);
    if (UNLIKELY(dict == NULL)) {
        PyErr_Clear();
        return false;
    }
    return stream_instance_is_plain(&reader_class, dict, READER_FIELDS);
}

/* The state for a call that is made here: `least` or one positional argument, on an
 * instance whose methods are ours. Borrowed; NULL, without an exception: asyncio's
 * function is to be called. */
static inline PyObject *
usual(PyObject *self, Py_ssize_t count, PyObject *kwnames, Py_ssize_t least)
{
    if (UNLIKELY(count > 1 || count < least || kwnames != NULL || !is_plain(self))) {
        return NULL;
    }
    PyObject *state = (PyObject *)reader_state_of(self);
    if (UNLIKELY(state == NULL)) {
        PyErr_Clear();
    }
    return state;
}

static bool
size_of(PyObject *object, Py_ssize_t *size)
{
    if (UNLIKELY(!PyLong_Check(object))) {
        return false;
    }
    *size = PyLong_AsSsize_t(object);
    if (UNLIKELY(*size == -1 && PyErr_Occurred())) {
        PyErr_Clear();
        return false;
    }
    return true;
}

#define THEIRS(name) stream_class_call(&reader_class, name, self, args, count, kwnames)

/* What is not made here means a loop over blocks, which asyncio's function does well. */
static PyObject *
reader_read(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    Py_ssize_t size;
    PyObject *state = usual(self, count, kwnames, 1);
    if (LIKELY(state != NULL && size_of(args[0], &size) && size >= 0)) {
        return reader_awaitable_read(self, state, size);
    }
    return THEIRS("read");
}

static PyObject *
reader_readexactly(PyObject *self, PyObject *const *args, Py_ssize_t count,
                   PyObject *kwnames)
{
    Py_ssize_t size;
    PyObject *state = usual(self, count, kwnames, 1);
    if (LIKELY(state != NULL && size_of(args[0], &size))) {
        return reader_awaitable_readexactly(self, state, size);
    }
    return THEIRS("readexactly");
}

static PyObject *
reader_readuntil(PyObject *self, PyObject *const *args, Py_ssize_t count,
                 PyObject *kwnames)
{
    PyObject *state = usual(self, count, kwnames, 0);
    if (LIKELY(state != NULL && (count == 0 || PyBytes_CheckExact(args[0])))) {
        return reader_awaitable_readuntil(self, state, count == 0 ? NULL : args[0]);
    }
    return THEIRS("readuntil");
}

static PyObject *
reader_readline(PyObject *self, PyObject *const *args, Py_ssize_t count,
                PyObject *kwnames)
{
    PyObject *state = count == 0 ? usual(self, count, kwnames, 0) : NULL;
    return LIKELY(state != NULL) ? reader_awaitable_readline(self, state)
                                 : THEIRS("readline");
}

static PyObject *
reader_next(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    PyObject *state = count == 0 ? usual(self, count, kwnames, 0) : NULL;
    return LIKELY(state != NULL) ? reader_awaitable_next(self, state)
                                 : THEIRS("__anext__");
}

/* 0 as None. */
static PyObject *
none_or_error(int res)
{
    return res < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
reader_feed_data(PyObject *self, PyObject *const *args, Py_ssize_t count,
                 PyObject *kwnames)
{
    struct reader_state *state = (struct reader_state *)usual(self, count, kwnames, 1);
    if (UNLIKELY(state == NULL || !PyBytes_CheckExact(args[0]))) {
        return THEIRS("feed_data");
    }
    Py_INCREF(state); /* a loop or transport in Python may take the reader apart */
    int res = feed(state, PyBytes_AS_STRING(args[0]), PyBytes_GET_SIZE(args[0]));
    Py_DECREF(state);
    return none_or_error(res);
}

static PyObject *
reader_feed_eof(PyObject *self, PyObject *const *args, Py_ssize_t count,
                PyObject *kwnames)
{
    struct reader_state *state =
        count == 0 ? (struct reader_state *)usual(self, count, kwnames, 0) : NULL;
    if (UNLIKELY(state == NULL)) {
        return THEIRS("feed_eof");
    }
    state->eof = true;
    return none_or_error(wake(state, stream_names.set_result, Py_None));
}

static PyObject *
reader_set_exception(PyObject *self, PyObject *const *args, Py_ssize_t count,
                     PyObject *kwnames)
{
    struct reader_state *state = (struct reader_state *)usual(self, count, kwnames, 1);
    if (UNLIKELY(state == NULL)) {
        return THEIRS("set_exception");
    }
    Py_INCREF(state); /* the end of the one before may take the reader apart */
    Py_SETREF(state->exception, Py_NewRef(args[0]));
    int res = wake(state, stream_names.set_exception, args[0]);
    Py_DECREF(state);
    return none_or_error(res);
}

#undef THEIRS

static PyObject *
reader_exception(PyObject *self, PyObject *none)
{
    (void)none;
    const struct reader_state *state = reader_state_of(self);
    return state == NULL ? NULL : Py_NewRef(state->exception);
}

static PyObject *
reader_at_eof(PyObject *self, PyObject *none)
{
    (void)none;
    const struct reader_state *state = reader_state_of(self);
    return state == NULL ? NULL
                         : PyBool_FromLong(state->eof && Py_SIZE(state->buffer) == 0);
}

/* An attribute may hide a function that a transport would not look for. */
static PyObject *
reader_setattr(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "expected 2 arguments, got %zd", count);
    }
    int hides = PyDict_Contains(reader_class.functions, args[0]);
    struct reader_state *state = hides > 0 ? reader_state_of(self) : NULL;
    if (hides < 0 || (hides > 0 && state == NULL) ||
        PyObject_GenericSetAttr(self, args[0], args[1]) < 0) {
        return NULL;
    }
    if (hides > 0) {
        state->patched = true;
    }
    Py_RETURN_NONE;
}

#define METHOD(name, function, text)                                                   \
    {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, text}

PyMethodDef reader_methods[] = {
    METHOD("read", reader_read,
           "read($self, n=-1)\n--\n\nAt most n bytes, or all until the end."),
    METHOD("readexactly", reader_readexactly, "readexactly($self, n)\n--\n\nn bytes."),
    METHOD("readuntil", reader_readuntil,
           "readuntil($self, separator=b'\\n')\n--\n\nBytes up to the separator."),
    METHOD("readline", reader_readline, "readline($self)\n--\n\nOne line."),
    METHOD("__anext__", reader_next, "__anext__($self)\n--\n\nThe next line."),
    METHOD("feed_data", reader_feed_data,
           "feed_data($self, data)\n--\n\nBytes have arrived."),
    METHOD("feed_eof", reader_feed_eof, "feed_eof($self)\n--\n\nNo more will come."),
    METHOD("set_exception", reader_set_exception,
           "set_exception($self, exc)\n--\n\nReading raises it from now on."),
    {"__setattr__", (PyCFunction)(void (*)(void))reader_setattr, METH_FASTCALL, NULL},
    {"exception", reader_exception, METH_NOARGS,
     "exception($self)\n--\n\nWhat set_exception was called with."},
    {"at_eof", reader_at_eof, METH_NOARGS,
     "at_eof($self)\n--\n\nWhether all has been read."},
    {NULL, NULL, 0, NULL},
};

#undef METHOD
