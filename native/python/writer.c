/* StreamWriter in C: write() and drain(), and how a server's writer becomes ours.
 *
 * asyncio makes the writer inside connection_made() and passes it to the callback of
 * the server at once. So the callback is replaced for that moment by one that gives the
 * writer our class, puts the user's callback back, and calls it. Writers of clients are
 * made where nobody can see them, and stay asyncio's. */
#include "reader.h"
#include "stream.h"

/* --- drain ------------------------------------------------------------------------------ */

enum { DRAIN_BEGINS, DRAIN_YIELDED, DRAIN_HELPED };

static inline struct writer_state *
state_of(struct reading *self)
{
    return (struct writer_state *)self->state;
}

/* Ours, and without attributes of the program's that could hide its methods. */
static inline bool
is_native(PyObject *transport)
{
    return Py_IS_TYPE(transport, SocketTransport_Type) &&
           ((struct transport *)transport)->dict == NULL;
}

/* reader.exception(); new. */
static PyObject *
exception_of(const struct writer_state *state)
{
    if (LIKELY(state->reader_state != NULL && !state->reader_state->patched)) {
        return Py_NewRef(state->reader_state->exception);
    }
    PyObject *reader = Py_NewRef(state->reader);
    PyObject *exception = PyObject_CallMethodNoArgs(reader, stream_names.exception);
    Py_DECREF(reader);
    return exception;
}

/* -1: an exception is set, the one that the reader was given. */
static int
raise_readers(const struct writer_state *state)
{
    if (state->reader == Py_None) {
        return 0;
    }
    PyObject *exception = exception_of(state);
    if (UNLIKELY(exception != NULL && exception != Py_None)) {
        raise_object(exception);
    }
    Py_XDECREF(exception);
    return LIKELY(exception == Py_None) ? 0 : -1;
}

/* transport.is_closing(): 0, 1; -1: exception. */
static int
is_closing(const struct writer_state *state)
{
    if (LIKELY(is_native(state->transport))) {
        return transport_is_closing((struct transport *)state->transport);
    }
    PyObject *transport = Py_NewRef(state->transport);
    PyObject *closing = PyObject_CallMethodNoArgs(transport, stream_names.is_closing);
    Py_DECREF(transport);
    int res = closing == NULL ? -1 : PyObject_IsTrue(closing);
    Py_XDECREF(closing);
    return res;
}

/* Whether asyncio's helper would return at once; 0: it has to be asked. */
static int
may_go_on(const struct writer_state *state)
{
    if (UNLIKELY(state->protocol_fields < 0 ||
                 Py_TYPE(state->protocol) != protocol_class.theirs ||
                 !stream_class_is_unchanged(&protocol_class))) {
        return 0;
    }
    PyObject *dict = stream_dict(state->protocol);
    if (dict == NULL) {
        return -1;
    }
    if (UNLIKELY(PyDict_GET_SIZE(dict) != state->protocol_fields)) {
        int hidden = PyDict_Contains(dict, stream_names.drain_helper);
        if (hidden != 0) {
            return hidden < 0 ? -1 : 0;
        }
    }
    int lost = stream_flag(dict, stream_names.connection_lost);
    int paused = lost == 0 ? stream_flag(dict, stream_names.paused) : lost;
    return paused < 0 ? -1 : paused == 0;
}

static enum reading_outcome
ask_helper(struct reading *self, PyObject **result)
{
    int free = may_go_on(state_of(self));
    if (LIKELY(free > 0)) {
        *result = Py_NewRef(Py_None);
        return READING_VALUE;
    }
    if (free < 0) {
        return READING_ERROR;
    }
    self->stage = DRAIN_HELPED;
    PyObject *protocol = Py_NewRef(state_of(self)->protocol);
    PyObject *helper = PyObject_CallMethodNoArgs(protocol, stream_names.drain_helper);
    Py_DECREF(protocol);
    return reading_wait(self, helper);
}

static enum reading_outcome
drain_advance(struct reading *self, PyObject **result)
{
    if (self->stage == DRAIN_HELPED) {
        *result = Py_NewRef(Py_None);
        return READING_VALUE;
    }
    if (self->stage == DRAIN_BEGINS) {
        int closing =
            raise_readers(state_of(self)) < 0 ? -1 : is_closing(state_of(self));
        if (UNLIKELY(closing != 0)) {
            self->stage = DRAIN_YIELDED; /* connection_lost() may be called meanwhile */
            return closing < 0 ? READING_ERROR : READING_YIELD;
        }
    }
    return ask_helper(self, result);
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
    struct writer_state *state = writer_state_of(self);
    return state == NULL
               ? NULL
               : (PyObject *)reading_new(&drain_kind, self, (PyObject *)state);
}

static PyObject *
write_object(PyObject *transport, PyObject *data)
{
    PyObject *res = PyObject_CallMethodOneArg(transport, stream_names.write, data);
    if (res == NULL) {
        return NULL;
    }
    Py_DECREF(res);
    Py_RETURN_NONE;
}

static PyObject *
writer_write(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    if (UNLIKELY(count != 1 || kwnames != NULL)) {
        return stream_class_call(&writer_class, "write", self, args, count, kwnames);
    }
    const struct writer_state *state = writer_state_of(self);
    if (UNLIKELY(state == NULL)) {
        return NULL;
    }
    PyObject *transport = Py_NewRef(state->transport);
    PyObject *res = LIKELY(is_native(transport))
                        ? stream_write((struct stream *)transport, args[0])
                        : write_object(transport, args[0]);
    Py_DECREF(transport);
    return res;
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
    (void)writer_state_move_in(writer);
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
