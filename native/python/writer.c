/* StreamWriter in C: write() and drain(), and how a server's writer becomes ours.
 *
 * asyncio makes the writer inside connection_made() and passes it to the callback of
 * the server at once. So the callback is replaced for that moment by one that gives the
 * writer our class, puts the user's callback back, and calls it. Writers of clients are
 * made where nobody can see them, and stay asyncio's. */
#include "reader.h"

/* --- drain ------------------------------------------------------------------------------ */

enum { DRAIN_BEGINS, DRAIN_YIELDED, DRAIN_HELPED };

/* reader.exception(); new. */
static PyObject *
exception_of(PyObject *reader)
{
    if (LIKELY(Py_TYPE(reader) == reader_class.ours)) {
        PyObject *dict = stream_dict(reader);
        const struct reader_state *state = reader_state_of(reader);
        if (LIKELY(state != NULL &&
                   stream_instance_is_plain(&reader_class, dict, READER_FIELDS))) {
            return Py_NewRef(state->exception);
        }
        PyErr_Clear();
    }
    return PyObject_CallMethodNoArgs(reader, stream_names.exception);
}

/* -1: an exception is set, the one that the reader was given. */
static int
raise_readers(PyObject *dict)
{
    PyObject *reader = stream_field(dict, stream_names.reader);
    if (reader == NULL || reader == Py_None) {
        return reader == NULL ? -1 : 0;
    }
    PyObject *exception = exception_of(reader);
    if (exception != NULL && exception != Py_None) {
        raise_object(exception);
    }
    Py_XDECREF(exception);
    return LIKELY(exception == Py_None) ? 0 : -1;
}

/* transport.is_closing(): 0, 1; -1: exception. */
static int
is_closing(PyObject *dict)
{
    PyObject *transport = Py_XNewRef(stream_field(dict, stream_names.transport));
    if (transport == NULL) {
        return -1;
    }
    PyObject *closing = PyObject_CallMethodNoArgs(transport, stream_names.is_closing);
    Py_DECREF(transport);
    int res = closing == NULL ? -1 : closing == Py_False ? 0 : PyObject_IsTrue(closing);
    Py_XDECREF(closing);
    return res;
}

/* Whether asyncio's helper would return at once; 0: it has to be asked. */
static int
may_go_on(PyObject *protocol)
{
    if (Py_TYPE(protocol) != protocol_class.theirs ||
        !stream_class_is_unchanged(&protocol_class)) {
        return 0;
    }
    PyObject *dict = stream_dict(protocol);
    if (dict == NULL || PyDict_Contains(dict, stream_names.drain_helper) != 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int lost = stream_flag(dict, stream_names.connection_lost);
    int paused = lost == 0 ? stream_flag(dict, stream_names.paused) : lost;
    return paused < 0 ? -1 : paused == 0;
}

static enum reading_outcome
ask_helper(struct reading *self, PyObject *dict, PyObject **result)
{
    PyObject *protocol = Py_XNewRef(stream_field(dict, stream_names.protocol));
    if (protocol == NULL) {
        return READING_ERROR;
    }
    enum reading_outcome outcome = READING_ERROR;
    int free = may_go_on(protocol);
    if (LIKELY(free > 0)) {
        *result = Py_NewRef(Py_None);
        outcome = READING_VALUE;
    } else if (free == 0) {
        self->stage = DRAIN_HELPED;
        outcome = reading_wait(
            self, PyObject_CallMethodNoArgs(protocol, stream_names.drain_helper));
    }
    Py_DECREF(protocol);
    return outcome;
}

static enum reading_outcome
drain_advance(struct reading *self, PyObject **result)
{
    PyObject *dict = self->state;
    if (self->stage == DRAIN_HELPED) {
        *result = Py_NewRef(Py_None);
        return READING_VALUE;
    }
    if (self->stage == DRAIN_BEGINS) {
        int closing = raise_readers(dict) < 0 ? -1 : is_closing(dict);
        if (UNLIKELY(closing != 0)) {
            self->stage = DRAIN_YIELDED; /* connection_lost() may be called meanwhile */
            return closing < 0 ? READING_ERROR : READING_YIELD;
        }
    }
    return ask_helper(self, dict, result);
}

static void
drain_woken(struct reading *self)
{
    (void)self;
}

static const struct reading_kind drain_kind = {"StreamWriter.drain", drain_advance,
                                               drain_woken, NULL, false};

/* --- methods -------------------------------------------------------------------------------- */

static PyObject *
writer_drain(PyObject *self, PyObject *none)
{
    (void)none;
    PyObject *dict = stream_dict(self);
    return dict == NULL ? NULL : (PyObject *)reading_new(&drain_kind, self, dict);
}

static PyObject *
writer_write(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    PyObject *dict = stream_dict(self);
    if (UNLIKELY(dict == NULL || count != 1 || kwnames != NULL)) {
        return stream_class_call(&writer_class, "write", self, args, count, kwnames);
    }
    PyObject *transport = Py_XNewRef(stream_field(dict, stream_names.transport));
    if (transport == NULL) {
        return NULL;
    }
    PyObject *res = PyObject_CallMethodOneArg(transport, stream_names.write, args[0]);
    Py_DECREF(transport);
    if (UNLIKELY(res == NULL)) {
        return NULL;
    }
    Py_DECREF(res);
    Py_RETURN_NONE;
}

PyMethodDef writer_methods[] = {
    {"write", (PyCFunction)(void (*)(void))writer_write, METH_FASTCALL | METH_KEYWORDS,
     "write($self, data)\n--\n\nGive data to the transport."},
    {"drain", writer_drain, METH_NOARGS,
     "drain($self)\n--\n\nWait until the transport has room."},
    {NULL, NULL, 0, NULL},
};

/* --- the callback ------------------------------------------------------------------------------ */

static void
adopt_writer(PyObject *writer, PyObject *callback)
{
    if (Py_TYPE(writer) != writer_class.theirs ||
        !stream_class_is_unchanged(&writer_class)) {
        return;
    }
    PyObject *protocol = PyObject_GetAttr(writer, stream_names.protocol);
    if (protocol == NULL ||
        PyObject_SetAttr(protocol, stream_names.client_connected_cb, callback) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(protocol);
    stream_class_give(&writer_class, writer);
}

static PyObject *
connected(PyObject *callback, PyObject *const *args, Py_ssize_t count,
          PyObject *kwnames)
{
    if (count == 2) {
        adopt_writer(args[1], callback);
    }
    return PyObject_Vectorcall(callback, args, (size_t)count, kwnames);
}

static PyMethodDef connected_method = {"client_connected",
                                       (PyCFunction)(void (*)(void))connected,
                                       METH_FASTCALL | METH_KEYWORDS, NULL};

void
writer_expect(PyObject *protocol)
{
    PyObject *transport = PyObject_GetAttr(protocol, stream_names.transport);
    PyObject *callback = PyObject_GetAttr(protocol, stream_names.client_connected_cb);
    bool before = transport == Py_None && callback != NULL && callback != Py_None &&
                  !(PyCFunction_Check(callback) &&
                    ((PyCFunctionObject *)callback)->m_ml == &connected_method);
    PyObject *wrapped = before ? PyCFunction_New(&connected_method, callback) : NULL;
    if (wrapped != NULL) {
        PyObject_SetAttr(protocol, stream_names.client_connected_cb, wrapped);
    }
    PyErr_Clear();
    Py_XDECREF(wrapped);
    Py_XDECREF(callback);
    Py_XDECREF(transport);
}
