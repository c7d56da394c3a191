/* SocketTransport: a connected stream socket, its beginning, its methods and its end.
 *
 * Reading is in stream_read.c, writing in stream_write.c. */
#include "reader.h"
#include "stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

PyTypeObject *SocketTransport_Type;

static PyObject *buffered_protocol; /* owned for ever: asyncio.BufferedProtocol */

/* --- the beginning ------------------------------------------------------------------------------- */

static int
made_failed(struct stream *self)
{
    if (exception_is_fatal()) {
        return -1;
    }
    PyObject *exception = exception_take();
    PyObject *method =
        PyObject_GetAttr(self->base.protocol, transport_names.connection_made);
    if (method == NULL) {
        PyErr_Clear();
        method = Py_NewRef(self->base.protocol);
    }
    PyObject *object = (PyObject *)self;
    struct handle *handle = handle_new(self->base.loop, method, &object, 1, NULL);
    PyObject *args[] = {(PyObject *)handle, exception};
    int res = handle == NULL ? -1 : report("callback_failed", args, 2);
    Py_XDECREF(handle);
    Py_DECREF(method);
    Py_DECREF(exception);
    return res;
}

static int
tell_made(struct stream *self)
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
tell_protocol_made(struct transport *base)
{
    PyObject *res =
        base->protocol == NULL
            ? Py_NewRef(Py_None)
            : protocol_call(base, transport_names.connection_made, (PyObject *)base);
    Py_XDECREF(res);
    return res == NULL ? made_failed((struct stream *)base) : 0;
}

static int
begin_watching(struct stream *self)
{
    struct transport *base = &self->base;
    if (transport_is_lost(base) || base->source.listed) {
        return 0;
    }
    if (source_open(&base->source, loop_core(base->loop), base->fd) < 0) {
        return -1;
    }
    if (self->chunks_count > 0) {
        source_want_write(&base->source);
    }
    stream_hold(self);
    return 0;
}

/* What asyncio schedules as three callbacks: connection_made, reading, the waiter. Each
 * happens whatever became of the one before. */
static int
start(struct stream *self)
{
    PyObject *context = self->made_context;
    self->made_context = NULL;
    int res = context_run(context, tell_protocol_made, &self->base);
    Py_DECREF(context);
    PyObject *raised = res < 0 ? exception_take() : NULL;
    if (begin_watching(self) < 0) {
        Py_XSETREF(raised, exception_take());
    }
    if (tell_made(self) < 0) {
        Py_XSETREF(raised, exception_take());
    }
    if (raised != NULL) {
        exception_raise(raised);
        return -1;
    }
    return 0;
}

void
stream_hold(struct stream *self)
{
    const struct transport *base = &self->base;
    bool reads = base->place == TRANSPORT_OPEN && !base->paused && !self->read_ended;
    source_hold(&self->base.source, reads || self->chunks_count > 0);
}

/* An exception that ends the run of the loop, which may run again: what was seen is not
 * seen again. */
static int
not_handled(struct source *source, uint32_t events)
{
    PyObject *exception = exception_take();
    if (source->listed && source_queue(source, events) < 0) {
        PyErr_Clear();
    }
    exception_raise(exception);
    return -1;
}

static int
stream_ready(struct source *source, uint32_t events)
{
    struct transport *base = (struct transport *)source->object;
    struct stream *self = (struct stream *)base;
    if (UNLIKELY(self->made_context != NULL) && start(self) < 0) {
        return not_handled(source, events);
    }
    if (events & (POLLRDHUP | POLLHUP | POLLERR | POLLPRI)) {
        self->hangup = true;
    }
    if ((events & (POLLIN | POLLRDHUP | POLLHUP | POLLERR | POLLPRI)) &&
        base->read_context != NULL &&
        context_run(base->read_context, stream_read_ready, base) < 0) {
        return not_handled(source, events & (POLLOUT | POLLHUP | POLLERR));
    }
    if (self->chunks_count > 0 && (events & (POLLOUT | POLLHUP | POLLERR))) {
        PyObject *context = self->write_context;
        return context_run(context != NULL ? context : base->read_context,
                           stream_write_ready, base);
    }
    return 0;
}

static const struct source_kind stream_kind = {
    .name = "stream",
    .watch = WATCH_STREAM,
    .ready = stream_ready,
};

/* --- creation ------------------------------------------------------------------------------------- */

static int
stream_take_protocol(struct stream *self, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, buffered_protocol);
    if (buffered < 0) {
        return -1;
    }
    PyObject *feeder = buffered ? NULL : reader_adopt(protocol);
    self->reader = buffered         ? READER_BUFFERED
                   : feeder != NULL ? READER_STREAM
                                    : READER_BYTES;
    Py_XSETREF(self->feeder, feeder);
    return 0;
}

/* Small messages must not wait for others. */
static void
set_nodelay(struct stream *self)
{
    sa_family_t family = AF_UNSPEC;
    if (self->base.local.size >= sizeof(family)) {
        memcpy(&family, self->base.local.bytes, sizeof(family));
    }
    if (self->base.local.size == 0) {
        self->trust = TRUST_PLAIN; /* Unix sockets have an address of another kind */
    } else if (family == AF_INET || family == AF_INET6) {
        self->trust = TRUST_SHORT;
        int on = 1;
        (void)setsockopt(self->base.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
}

PyObject *
stream_new(PyObject *loop, PyObject *sock, int fd, PyObject *protocol, PyObject *waiter,
           PyObject *extra, PyObject *server, const void *peer, unsigned peer_size)
{
    struct stream *self =
        (struct stream *)SocketTransport_Type->tp_alloc(SocketTransport_Type, 0);
    if (self == NULL) {
        return NULL;
    }
    source_init(&self->base.source, &stream_kind, (PyObject *)self);
    self->base.source.core = loop_core(loop);
    self->base.source.fd = fd;
    self->base.fd = -1;
    if (stream_take_protocol(self, protocol) < 0 ||
        transport_set_up(&self->base, loop, sock, fd, protocol, extra, server) < 0 ||
        transport_set_peer(&self->base, peer, peer_size) < 0) {
        goto fail;
    }
    set_nodelay(self);
    self->made_context = PyContext_CopyCurrent();
    self->waiter = waiter == NULL || waiter == Py_None ? NULL : Py_NewRef(waiter);
    if (self->made_context == NULL ||
        source_queue(&self->base.source, 0) < 0) { /* start() */
        goto fail;
    }
    return (PyObject *)self;
fail:
    transport_abandon(&self->base);
    Py_DECREF(self);
    return NULL;
}

/* SocketTransport(loop, sock, protocol, waiter=None, extra=None, server=None) */
static PyObject *
stream_type_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"loop",  "sock",   "protocol", "waiter",
                               "extra", "server", NULL};
    PyObject *loop, *sock, *protocol, *waiter = NULL, *extra = NULL, *server = NULL;
    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|OOO:SocketTransport", keywords,
                                     &loop, &sock, &protocol, &waiter, &extra,
                                     &server) ||
        loop_core_checked(loop) == NULL) {
        return NULL;
    }
    int fd = socket_number(sock);
    return fd < 0
               ? NULL
               : stream_new(loop, sock, fd, protocol, waiter, extra, server, NULL, 0);
}

/* --- methods ----------------------------------------------------------------------------------------- */

static PyObject *
debug_log(struct stream *self, const char *what)
{
    if (UNLIKELY(loop_core(self->base.loop)->debug)) {
        PyObject *args[] = {(PyObject *)self};
        if (report(what, args, 1) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
stream_is_reading(struct stream *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(!transport_is_closing(&self->base) && !self->base.paused);
}

static PyObject *
stream_pause_reading(struct stream *self, PyObject *none)
{
    (void)none;
    if (transport_is_closing(&self->base) || self->base.paused) {
        Py_RETURN_NONE;
    }
    self->base.paused = true;
    stream_hold(self);
    return debug_log(self, "paused_reading");
}

static PyObject *
stream_resume_reading(struct stream *self, PyObject *none)
{
    (void)none;
    if (transport_is_closing(&self->base) || !self->base.paused) {
        Py_RETURN_NONE;
    }
    PyObject *context = PyContext_CopyCurrent();
    if (context == NULL) {
        return NULL;
    }
    Py_XSETREF(self->base.read_context, context);
    self->base.paused = false;
    stream_hold(self);
    /* Edges seen meanwhile are forgotten: look. */
    if (self->base.source.listed && source_queue(&self->base.source, POLLIN) < 0) {
        return NULL;
    }
    return debug_log(self, "resumed_reading");
}

static PyObject *
stream_set_protocol(struct stream *self, PyObject *protocol)
{
    if (stream_take_protocol(self, protocol) < 0) {
        return NULL;
    }
    Py_XSETREF(self->base.protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *
stream_can_write_eof(struct stream *self, PyObject *none)
{
    (void)self;
    (void)none;
    Py_RETURN_TRUE;
}

static PyObject *
stream_make_empty_waiter(struct stream *self, PyObject *none)
{
    (void)none;
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    PyObject *waiter = loop_create_future(self->base.loop);
    if (waiter == NULL) {
        return NULL;
    }
    self->empty_waiter = Py_NewRef(waiter);
    if (self->chunks_count == 0) {
        PyObject *res = PyObject_CallMethod(waiter, "set_result", "O", Py_None);
        if (res == NULL) {
            Py_CLEAR(waiter);
        }
        Py_XDECREF(res);
    }
    return waiter;
}

static PyObject *
stream_reset_empty_waiter(struct stream *self, PyObject *none)
{
    (void)none;
    Py_CLEAR(self->empty_waiter);
    Py_RETURN_NONE;
}

/* asyncio's, with the loss of the connection told to who waits for the buffer. */
static PyObject *
stream_call_connection_lost(struct stream *self, PyObject *exception)
{
    int res = transport_end(&self->base, exception == Py_None ? NULL : exception);
    PyObject *waiter = self->empty_waiter;
    self->empty_waiter = NULL;
    Py_CLEAR(self->feeder);
    self->reader = READER_BYTES;
    if (waiter == NULL) {
        return res < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *raised = res < 0 ? exception_take() : NULL;
    PyObject *args[] = {waiter};
    res = report("lost_while_waiting", args, 1);
    Py_DECREF(waiter);
    if (raised != NULL) {
        PyErr_Clear();
        exception_raise(raised);
        return NULL;
    }
    return res < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
stream_repr(PyObject *self)
{
    PyObject *module = reports();
    return module == NULL
               ? NULL
               : PyObject_CallMethod(module, "describe_transport", "O", self);
}

static PyMethodDef stream_methods[] = {
    {"write", (PyCFunction)stream_write, METH_O,
     "write(data)\n--\n\nSend bytes, a bytearray or a memoryview."},
    {"writelines", (PyCFunction)stream_writelines, METH_O,
     "writelines(list_of_data)\n--\n\nSend them all, in one call where possible."},
    {"write_eof", (PyCFunction)stream_write_eof, METH_NOARGS,
     "write_eof()\n--\n\nClose the writing half when all is sent."},
    {"can_write_eof", (PyCFunction)stream_can_write_eof, METH_NOARGS, "True."},
    {"close", (PyCFunction)stream_close, METH_NOARGS,
     "close()\n--\n\nClose when all is sent; connection_lost(None) is called."},
    {"abort", (PyCFunction)stream_abort, METH_NOARGS,
     "abort()\n--\n\nClose now; what is not sent is lost."},
    {"is_reading", (PyCFunction)stream_is_reading, METH_NOARGS,
     "is_reading()\n--\n\nWhether data is being received."},
    {"pause_reading", (PyCFunction)stream_pause_reading, METH_NOARGS,
     "pause_reading()\n--\n\nReceive nothing until resume_reading()."},
    {"resume_reading", (PyCFunction)stream_resume_reading, METH_NOARGS,
     "resume_reading()\n--\n\nReceive again."},
    {"set_protocol", (PyCFunction)stream_set_protocol, METH_O,
     "set_protocol(protocol)\n--\n\nAnother protocol from now on."},
    {"_force_close", (PyCFunction)stream_force_close_method, METH_O, NULL},
    {"_make_empty_waiter", (PyCFunction)stream_make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", (PyCFunction)stream_reset_empty_waiter, METH_NOARGS, NULL},
    {"_call_connection_lost", (PyCFunction)stream_call_connection_lost, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* --- life ------------------------------------------------------------------------------------------- */

static int
stream_traverse(struct stream *self, visitproc visit, void *arg)
{
    Py_VISIT(self->made_context);
    Py_VISIT(self->write_context);
    Py_VISIT(self->waiter);
    Py_VISIT(self->feeder);
    Py_VISIT(self->empty_waiter);
    return transport_traverse(&self->base, visit, arg);
}

static int
stream_clear(struct stream *self)
{
    Py_CLEAR(self->made_context);
    Py_CLEAR(self->write_context);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->feeder);
    Py_CLEAR(self->empty_waiter);
    return transport_clear(&self->base);
}

static void
stream_dealloc(struct stream *self)
{
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    source_close(&self->base.source); /* one that nobody held */
    (void)stream_clear(self);
    stream_forget_chunks(self);
    PyMem_Free(self->chunks);
    transport_free(&self->base);
}

static PyMemberDef stream_members[] = {
    {"_eof", T_BOOL, offsetof(struct stream, eof), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct transport, weakrefs), READONLY,
     NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(struct transport, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "A connected stream socket; an asyncio.Transport."},
    {Py_tp_new, stream_type_new},
    {Py_tp_init, transport_init}, /* not BaseTransport's: tp_new did it all */
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_finalize, transport_finalize},
    {Py_tp_traverse, stream_traverse},
    {Py_tp_clear, stream_clear},
    {Py_tp_repr, stream_repr},
    {Py_tp_methods, stream_methods},
    {Py_tp_members, stream_members},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "syslet_loop._native.SocketTransport",
    .basicsize = sizeof(struct stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = stream_slots,
};

/* asyncio's sendfile wants an instance of it. */
static PyObject *
flow_control_mixin(void)
{
    PyObject *module = PyImport_ImportModule("asyncio.transports");
    PyObject *mixin =
        module == NULL ? NULL : PyObject_GetAttrString(module, "_FlowControlMixin");
    Py_XDECREF(module);
    return mixin;
}

int
stream_init(PyObject *module)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL) {
        return -1;
    }
    PyObject *base = flow_control_mixin();
    buffered_protocol = PyObject_GetAttrString(asyncio, "BufferedProtocol");
    Py_DECREF(asyncio);
    if (base == NULL || buffered_protocol == NULL) {
        Py_XDECREF(base);
        return -1;
    }
    SocketTransport_Type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &stream_spec, base);
    Py_DECREF(base);
    return SocketTransport_Type == NULL || transport_type_add(SocketTransport_Type) < 0
               ? -1
               : PyModule_AddType(module, SocketTransport_Type);
}
