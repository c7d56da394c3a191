/* What the awaitables of a StreamReader do: read, readexactly, readuntil, readline, and
 * the step of `async for`. The machine that runs them is reading.c.
 *
 * Each follows asyncio's function of that name step by step, with its texts. */
#include "reader.h"
#include "loop.h"

static PyObject *newline;          /* owned for ever: b"\n" */
static PyObject *incomplete_error; /* owned for ever: asyncio.IncompleteReadError */
static PyObject *overrun_error;    /* owned for ever: asyncio.LimitOverrunError */

/* --- parts ------------------------------------------------------------------------------ */

static inline struct reader_state *
state_of(struct reading *self)
{
    return (struct reader_state *)self->state;
}

/* The wait has ended: the reader has no waiter, whoever registered the last one. */
static void
reader_woken(struct reading *self)
{
    Py_SETREF(state_of(self)->waiter, Py_NewRef(Py_None));
}

/* loop.create_future(), without the call where it is ours. */
static PyObject *
new_future(PyObject *loop)
{
    static const PyTypeObject *native; /* borrowed: only compared */
    static unsigned version;           /* of that type, when it was looked at */
    PyTypeObject *type = Py_TYPE(loop);
    PyObject **dict = _PyObject_GetDictPtr(loop); /* an instance may have its own */
    if (LIKELY(type == native && version != 0 && type->tp_version_tag == version &&
               (dict == NULL || *dict == NULL))) {
        return loop_create_future(loop);
    }
    if (PyType_IsSubtype(type, Loop_Type)) {
        PyObject *theirs =
            PyObject_GetAttr((PyObject *)type, stream_names.create_future);
        PyObject *ours =
            PyObject_GetAttr((PyObject *)Loop_Type, stream_names.create_future);
        native = theirs != NULL && theirs == ours ? type : native;
        version = native == type ? type->tp_version_tag : version;
        PyErr_Clear();
        Py_XDECREF(theirs);
        Py_XDECREF(ours);
    }
    return PyObject_CallMethodNoArgs(loop, stream_names.create_future);
}

static enum reading_outcome
wait_for_data(struct reading *self, const char *caller)
{
    struct reader_state *state = state_of(self);
    if (UNLIKELY(state->waiter != Py_None)) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s() called while another coroutine is already waiting for "
                     "incoming data",
                     caller);
        return READING_ERROR;
    }
    /* Waiting while the transport is paused would be for ever. */
    if (reader_resume(state) < 0) {
        return READING_ERROR;
    }
    PyObject *loop = Py_NewRef(state->loop);
    PyObject *future = new_future(loop);
    Py_DECREF(loop);
    if (future != NULL) {
        Py_SETREF(state->waiter, Py_NewRef(future));
    }
    return reading_wait(self, future);
}

/* -1: the exception that the reader was given is raised. */
static int
raise_given(const struct reader_state *state)
{
    if (LIKELY(state->exception == Py_None)) {
        return 0;
    }
    raise_object(state->exception);
    return -1;
}

/* The beginning of the buffer is the result. */
static enum reading_outcome
take(struct reader_state *state, Py_ssize_t size, PyObject **result)
{
    *result = queue_take(state->buffer, Py_MIN(size, Py_SIZE(state->buffer)));
    if (*result != NULL && reader_resume_within_limit(state) < 0) {
        Py_CLEAR(*result);
    }
    return *result == NULL ? READING_ERROR : READING_VALUE;
}

static enum reading_outcome
nothing(PyObject **result)
{
    *result = PyBytes_FromStringAndSize(NULL, 0);
    return *result == NULL ? READING_ERROR : READING_VALUE;
}

/* The end came first. expected: stolen. */
static enum reading_outcome
raise_incomplete(PyByteArrayObject *buffer, PyObject *expected)
{
    PyObject *partial = expected == NULL ? NULL : queue_take(buffer, Py_SIZE(buffer));
    PyObject *exception = NULL;
    if (partial != NULL) {
        exception =
            PyObject_CallFunctionObjArgs(incomplete_error, partial, expected, NULL);
    }
    if (exception != NULL) {
        raise_object(exception);
        Py_DECREF(exception);
    }
    Py_XDECREF(partial);
    Py_XDECREF(expected);
    return READING_ERROR;
}

static enum reading_outcome
raise_overrun(const char *message, Py_ssize_t consumed)
{
    PyObject *exception = PyObject_CallFunction(overrun_error, "sn", message, consumed);
    if (exception != NULL) {
        raise_object(exception);
        Py_DECREF(exception);
    }
    return READING_ERROR;
}

/* --- read ----------------------------------------------------------------------------------- */

static enum reading_outcome
read_advance(struct reading *self, PyObject **result)
{
    struct reader_state *state = state_of(self);
    if (self->stage == 0) {
        self->stage = 1;
        if (raise_given(state) < 0) {
            return READING_ERROR;
        }
        if (UNLIKELY(self->size == 0)) {
            return nothing(result);
        }
        if (Py_SIZE(state->buffer) == 0 && !state->eof) {
            return wait_for_data(self, "read");
        }
    }
    return take(state, self->size, result);
}

/* --- readexactly ------------------------------------------------------------------------------ */

/* VALUE: there is something to wait for. */
static enum reading_outcome
exactly_begin(struct reading *self)
{
    self->stage = 1;
    if (UNLIKELY(self->size < 0)) {
        PyErr_SetString(PyExc_ValueError, "readexactly size can not be less than zero");
        return READING_ERROR;
    }
    return raise_given(state_of(self)) < 0 ? READING_ERROR : READING_VALUE;
}

static enum reading_outcome
exactly_advance(struct reading *self, PyObject **result)
{
    struct reader_state *state = state_of(self);
    if (self->stage == 0 && exactly_begin(self) == READING_ERROR) {
        return READING_ERROR;
    }
    if (UNLIKELY(self->size == 0)) {
        return nothing(result);
    }
    if (LIKELY(Py_SIZE(state->buffer) >= self->size)) {
        return take(state, self->size, result);
    }
    return state->eof ? raise_incomplete(state->buffer, PyLong_FromSsize_t(self->size))
                      : wait_for_data(self, "readexactly");
}

/* --- readuntil --------------------------------------------------------------------------------- */

/* Where the separator begins; -1: it is not there. */
static Py_ssize_t
find(const PyByteArrayObject *buffer, const PyObject *separator, Py_ssize_t offset)
{
    const char *begin = buffer->ob_start + offset;
    size_t size = (size_t)(Py_SIZE(buffer) - offset);
    const char *wanted = PyBytes_AS_STRING(separator);
    Py_ssize_t length = PyBytes_GET_SIZE(separator);
    const char *found = length == 1 ? memchr(begin, wanted[0], size)
                                    : memmem(begin, size, wanted, (size_t)length);
    return found == NULL ? -1 : found - buffer->ob_start;
}

static enum reading_outcome
until_begin(struct reading *self)
{
    self->stage = 1;
    if (UNLIKELY(PyBytes_GET_SIZE(self->separator) == 0)) {
        PyErr_SetString(PyExc_ValueError,
                        "Separator should be at least one-byte string");
        return READING_ERROR;
    }
    return raise_given(state_of(self)) < 0 ? READING_ERROR : READING_VALUE;
}

static enum reading_outcome
until_found(struct reading *self, Py_ssize_t place, PyObject **result)
{
    if (UNLIKELY(place > state_of(self)->limit_floor)) {
        return raise_overrun("Separator is found, but chunk is longer than limit",
                             place);
    }
    return take(state_of(self), place + PyBytes_GET_SIZE(self->separator), result);
}

static enum reading_outcome
until_advance(struct reading *self, PyObject **result)
{
    struct reader_state *state = state_of(self);
    if (self->stage == 0 && until_begin(self) == READING_ERROR) {
        return READING_ERROR;
    }
    Py_ssize_t length = PyBytes_GET_SIZE(self->separator);
    if (Py_SIZE(state->buffer) - self->offset >= length) {
        Py_ssize_t place = find(state->buffer, self->separator, self->offset);
        if (LIKELY(place >= 0)) {
            return until_found(self, place, result);
        }
        /* A separator may have begun in the last bytes. */
        self->offset = Py_SIZE(state->buffer) + 1 - length;
        if (UNLIKELY(self->offset > state->limit_floor)) {
            return raise_overrun("Separator is not found, and chunk exceed the limit",
                                 self->offset);
        }
    }
    return state->eof ? raise_incomplete(state->buffer, Py_NewRef(Py_None))
                      : wait_for_data(self, "readuntil");
}

/* --- readline ------------------------------------------------------------------------------------ */

/* Drops the line that is too long, or what there is of it. */
static int
drop_overrun(struct reader_state *state, PyObject *exception)
{
    PyObject *number = PyObject_GetAttr(exception, stream_names.consumed);
    Py_ssize_t consumed = number == NULL ? -1 : PyLong_AsSsize_t(number);
    Py_XDECREF(number);
    if (PyErr_Occurred()) {
        return -1;
    }
    Py_ssize_t size = Py_SIZE(state->buffer);
    if (consumed >= 0 && consumed < size && state->buffer->ob_start[consumed] == '\n') {
        size = consumed + 1;
    }
    return queue_drop(state->buffer, size) < 0 ? -1 : reader_resume_within_limit(state);
}

/* `raise ValueError(exception.args[0])` where that exception is handled. */
static void
raise_overlong(PyObject *exception)
{
    PyObject *args = PyObject_GetAttr(exception, stream_names.args);
    PyObject *text = args == NULL ? NULL : PySequence_GetItem(args, 0);
    if (text != NULL) {
        PyErr_SetObject(PyExc_ValueError, text);
    }
    Py_XDECREF(text);
    Py_XDECREF(args);
    PyObject *raised = exception_take();
    PyException_SetContext(raised, Py_NewRef(exception));
    exception_raise(raised);
}

static PyObject *
line_rescue(struct reading *self)
{
    PyObject *partial = NULL;
    bool incomplete = PyErr_ExceptionMatches(incomplete_error);
    if (!incomplete && !PyErr_ExceptionMatches(overrun_error)) {
        return NULL;
    }
    PyObject *exception = exception_take();
    if (incomplete) {
        partial = PyObject_GetAttr(exception, stream_names.partial);
    } else if (drop_overrun(state_of(self), exception) == 0) {
        raise_overlong(exception);
    }
    Py_DECREF(exception);
    return partial;
}

static PyObject *
next_rescue(struct reading *self)
{
    PyObject *line = line_rescue(self);
    if (line != NULL && PyBytes_Check(line) && PyBytes_GET_SIZE(line) == 0) {
        Py_CLEAR(line);
        PyErr_SetNone(PyExc_StopAsyncIteration);
    }
    return line;
}

/* --- kinds ------------------------------------------------------------------------------------------ */

static const struct reading_kind read_kind = {"StreamReader.read", read_advance,
                                              reader_woken, NULL, true};
static const struct reading_kind exactly_kind = {
    "StreamReader.readexactly", exactly_advance, reader_woken, NULL, true};
static const struct reading_kind until_kind = {"StreamReader.readuntil", until_advance,
                                               reader_woken, NULL, true};
static const struct reading_kind line_kind = {"StreamReader.readline", until_advance,
                                              reader_woken, line_rescue, true};
static const struct reading_kind next_kind = {"StreamReader.__anext__", until_advance,
                                              reader_woken, next_rescue, true};

static PyObject *
new_sized(const struct reading_kind *kind, PyObject *reader, PyObject *state,
          Py_ssize_t size)
{
    struct reading *self = reading_new(kind, reader, state);
    if (self != NULL) {
        self->size = size;
    }
    return (PyObject *)self;
}

static PyObject *
new_search(const struct reading_kind *kind, PyObject *reader, PyObject *state,
           PyObject *separator)
{
    struct reading *self = reading_new(kind, reader, state);
    if (self != NULL) {
        self->separator = Py_NewRef(separator);
    }
    return (PyObject *)self;
}

PyObject *
reader_awaitable_read(PyObject *reader, PyObject *state, Py_ssize_t size)
{
    return new_sized(&read_kind, reader, state, size);
}

PyObject *
reader_awaitable_readexactly(PyObject *reader, PyObject *state, Py_ssize_t size)
{
    return new_sized(&exactly_kind, reader, state, size);
}

PyObject *
reader_awaitable_readuntil(PyObject *reader, PyObject *state, PyObject *separator)
{
    return new_search(&until_kind, reader, state,
                      separator == NULL ? newline : separator);
}

PyObject *
reader_awaitable_readline(PyObject *reader, PyObject *state)
{
    return new_search(&line_kind, reader, state, newline);
}

PyObject *
reader_awaitable_next(PyObject *reader, PyObject *state)
{
    return new_search(&next_kind, reader, state, newline);
}

int
readops_init(void)
{
    if (newline == NULL && (newline = PyBytes_FromString("\n")) == NULL) {
        return -1;
    }
    return module_attribute(&incomplete_error, "asyncio", "IncompleteReadError") ==
                       NULL ||
                   module_attribute(&overrun_error, "asyncio", "LimitOverrunError") ==
                       NULL
               ? -1
               : 0;
}
