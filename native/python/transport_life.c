/* The life of a transport: how it begins, pauses, waits for room and is closed.
 *
 * Streams and datagrams do all of it the same way; what differs is in transport_kind.
 * A callback of the protocol may close the transport, so every step after one looks at
 * the place again. */
#include "transport.h"

#include <poll.h>

enum { LOST_WRITES_QUIET = 5 };

static const struct transport_kind *
kind_of(const struct transport *self)
{
    return (const struct transport_kind *)self->source.kind;
}

/* --- the beginning ------------------------------------------------------------------------------- */

int
transport_set_start(struct transport *self, PyObject *waiter)
{
    self->made_context = PyContext_CopyCurrent();
    self->waiter = waiter == NULL || waiter == Py_None ? NULL : Py_NewRef(waiter);
    return self->made_context == NULL ? -1 : source_queue(&self->source, 0);
}

/* The loop's handler is told, as of a callback that raised. */
static int
made_failed(struct transport *self)
{
    if (exception_is_fatal()) {
        return -1;
    }
    PyObject *exception = exception_take();
    PyObject *method =
        PyObject_GetAttr(self->protocol, transport_names.connection_made);
    if (method == NULL) {
        PyErr_Clear();
        method = Py_NewRef(self->protocol);
    }
    PyObject *object = (PyObject *)self;
    struct handle *handle = handle_new(self->loop, method, &object, 1, NULL);
    PyObject *args[] = {(PyObject *)handle, exception};
    int res = handle == NULL ? -1 : report("callback_failed", args, 2);
    Py_XDECREF(handle);
    Py_DECREF(method);
    Py_DECREF(exception);
    return res;
}

static int
tell_made(struct transport *self)
{
    if (self->protocol == NULL) {
        return 0;
    }
    PyObject *res =
        protocol_call(self, transport_names.connection_made, (PyObject *)self);
    Py_XDECREF(res);
    return res == NULL ? made_failed(self) : 0;
}

static int
tell_waiter(struct transport *self)
{
    static PyObject *set_result; /* owned for ever */
    PyObject *waiter = self->waiter;
    if (waiter == NULL) {
        return 0;
    }
    self->waiter = NULL;
    PyObject *function = module_attribute(&set_result, "asyncio.futures",
                                          "_set_result_unless_cancelled");
    PyObject *res = function == NULL
                        ? NULL
                        : PyObject_CallFunctionObjArgs(function, waiter, Py_None, NULL);
    Py_DECREF(waiter);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
begin_watching(struct transport *self)
{
    if (transport_is_lost(self) || self->source.listed) {
        return 0;
    }
    if (source_open(&self->source, loop_core(self->loop), self->fd) < 0) {
        return -1;
    }
    if (kind_of(self)->writing(self)) {
        source_want_write(&self->source);
    }
    transport_hold(self);
    return 0;
}

/* Each happens whatever became of the one before. */
int
transport_start(struct transport *self)
{
    PyObject *context = self->made_context;
    self->made_context = NULL;
    int res = context_run(context, tell_made, self);
    Py_DECREF(context);
    PyObject *raised = res < 0 ? exception_take() : NULL;
    if (begin_watching(self) < 0) {
        Py_XSETREF(raised, exception_take());
    }
    if (tell_waiter(self) < 0) {
        Py_XSETREF(raised, exception_take());
    }
    if (raised != NULL) {
        exception_raise(raised);
        return -1;
    }
    return 0;
}

int
transport_not_handled(struct transport *self, uint32_t events)
{
    PyObject *exception = exception_take();
    if (self->source.listed && source_queue(&self->source, events) < 0) {
        PyErr_Clear();
    }
    exception_raise(exception);
    return -1;
}

/* --- reading ------------------------------------------------------------------------------------ */

void
transport_hold(struct transport *self)
{
    bool reads = self->place == TRANSPORT_OPEN && !self->paused && !self->read_ended;
    source_hold(&self->source, reads || kind_of(self)->writing(self));
}

static PyObject *
debug_log(struct transport *self, const char *what)
{
    if (UNLIKELY(loop_core(self->loop)->debug)) {
        PyObject *args[] = {(PyObject *)self};
        if (report(what, args, 1) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
is_reading(struct transport *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(!transport_is_closing(self) && !self->paused);
}

static PyObject *
pause_reading(struct transport *self, PyObject *none)
{
    (void)none;
    if (transport_is_closing(self) || self->paused) {
        Py_RETURN_NONE;
    }
    self->paused = true;
    transport_hold(self);
    return debug_log(self, "paused_reading");
}

static PyObject *
resume_reading(struct transport *self, PyObject *none)
{
    (void)none;
    if (transport_is_closing(self) || !self->paused) {
        Py_RETURN_NONE;
    }
    PyObject *context = PyContext_CopyCurrent();
    if (context == NULL) {
        return NULL;
    }
    Py_XSETREF(self->read_context, context);
    self->paused = false;
    transport_hold(self);
    /* Edges seen meanwhile are forgotten: look. */
    if (self->source.listed && source_queue(&self->source, POLLIN) < 0) {
        return NULL;
    }
    return debug_log(self, "resumed_reading");
}

/* --- writing -------------------------------------------------------------------------------------- */

int
transport_want_write(struct transport *self)
{
    PyObject *context = PyContext_CopyCurrent();
    if (context == NULL) {
        return -1;
    }
    source_hold(&self->source, true);
    source_want_write(&self->source);
    Py_XSETREF(self->write_context, context);
    return 0;
}

int
transport_write_lost(struct transport *self)
{
    if (self->lost_writes + 1 >= LOST_WRITES_QUIET &&
        report("write_after_loss", NULL, 0) < 0) {
        return -1;
    }
    self->lost_writes += 1;
    return 0;
}

/* --- the end -------------------------------------------------------------------------------------- */

static int
end_soon(struct transport *self, PyObject *exception)
{
    Py_INCREF(self);
    kind_of(self)->forget(self);
    source_close(&self->source);
    int res = transport_lose(self, exception);
    Py_DECREF(self);
    return res;
}

int
transport_force_close(struct transport *self, PyObject *exception)
{
    if (transport_settle(self) < 0) {
        return -1;
    }
    return transport_is_lost(self) ? 0 : end_soon(self, exception);
}

int
transport_fatal(struct transport *self, const char *message)
{
    PyObject *exception = transport_failed(self, message);
    int res = exception == NULL ? -1 : transport_force_close(self, exception);
    Py_XDECREF(exception);
    return res;
}

int
transport_close(struct transport *self)
{
    if (transport_settle(self) < 0) {
        return -1;
    }
    if (transport_is_closing(self)) {
        return 0;
    }
    if (!kind_of(self)->unsent(self)) {
        return end_soon(self, NULL);
    }
    self->place = TRANSPORT_CLOSING;
    kind_of(self)->forget_read(self);
    return 0;
}

static PyObject *
none_or_error(int res)
{
    return res < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
close_method(struct transport *self, PyObject *none)
{
    (void)none;
    return none_or_error(transport_close(self));
}

static PyObject *
abort_method(struct transport *self, PyObject *none)
{
    (void)none;
    return none_or_error(transport_force_close(self, NULL));
}

static PyObject *
force_close_method(struct transport *self, PyObject *exception)
{
    return none_or_error(
        transport_force_close(self, exception == Py_None ? NULL : exception));
}

/* --- for the types --------------------------------------------------------------------------------- */

PyObject *
transport_repr(PyObject *self)
{
    PyObject *module = reports();
    return module == NULL
               ? NULL
               : PyObject_CallMethod(module, "describe_transport", "O", self);
}

PyMethodDef transport_life_methods[] = {
    {"close", (PyCFunction)close_method, METH_NOARGS,
     "close()\n--\n\nClose when all is sent; connection_lost(None) is called."},
    {"abort", (PyCFunction)abort_method, METH_NOARGS,
     "abort()\n--\n\nClose now; what is not sent is lost."},
    {"is_reading", (PyCFunction)is_reading, METH_NOARGS,
     "is_reading()\n--\n\nWhether data is being received."},
    {"pause_reading", (PyCFunction)pause_reading, METH_NOARGS,
     "pause_reading()\n--\n\nReceive nothing until resume_reading()."},
    {"resume_reading", (PyCFunction)resume_reading, METH_NOARGS,
     "resume_reading()\n--\n\nReceive again."},
    {"_force_close", (PyCFunction)force_close_method, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
