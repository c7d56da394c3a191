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

/* --- readiness ----------------------------------------------------------------------------------- */

static int
stream_ready(struct source *source, uint32_t events)
{
    struct transport *base = (struct transport *)source->object;
    struct stream *self = (struct stream *)base;
    if (UNLIKELY(base->made_context != NULL) && transport_start(base) < 0) {
        return transport_not_handled(base, events);
    }
    /* In the ring all data looks like urgent data. */
    bool doubtful = (events & POLLPRI) != 0 && self->trust != TRUST_NONE;
    if ((events & (POLLRDHUP | POLLHUP | POLLERR | SOURCE_AGAIN)) ||
        (doubtful && source_doubt(source) < 0)) {
        self->hangup = true;
    }
    if ((events & (POLLIN | POLLRDHUP | POLLHUP | POLLERR | POLLPRI | SOURCE_AGAIN)) &&
        base->read_context != NULL &&
        context_run(base->read_context, stream_read_ready, base) < 0) {
        return transport_not_handled(base, events & (POLLOUT | POLLHUP | POLLERR));
    }
    if ((self->chunks_count > 0 || base->place == TRANSPORT_CLOSING) &&
        (events & (POLLOUT | POLLHUP | POLLERR))) {
        PyObject *context = base->write_context;
        return context_run(context != NULL ? context : base->read_context,
                           stream_write_ready, base);
    }
    return 0;
}

static bool
has_chunks(const struct transport *base)
{
    return ((const struct stream *)base)->chunks_count > 0;
}

static void
forget_chunks(struct transport *base)
{
    stream_forget_chunks((struct stream *)base);
}

static void
forget_nothing(struct transport *base)
{
    (void)base; /* what was received is delivered at once */
}

static const struct transport_kind stream_kind = {
    .source = {.name = "stream",
               .watch = WATCH_STREAM,
               .ready = stream_ready,
               .flush = stream_flush},
    .unsent = has_chunks,
    .writing = has_chunks,
    .forget = forget_chunks,
    .forget_read = forget_nothing,
    .settle = stream_settle,
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

static int
family_of(const struct stream *self)
{
    sa_family_t family;
    int domain = AF_UNSPEC;
    socklen_t size = sizeof(domain);
    if (LIKELY(self->base.local.size >= sizeof(family))) {
        memcpy(&family, self->base.local.bytes, sizeof(family));
        return family;
    }
    (void)getsockopt(self->base.fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    return domain;
}

/* Small messages must not wait for others. */
static void
set_nodelay(struct stream *self)
{
    int family = family_of(self);
    if (family == AF_UNIX) {
        self->trust = TRUST_PLAIN;
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
    source_init(&self->base.source, &stream_kind.source, (PyObject *)self);
    self->base.source.core = loop_core(loop);
    self->base.source.fd = fd;
    self->base.fd = -1;
    if (stream_take_protocol(self, protocol) < 0 ||
        transport_set_up(&self->base, loop, sock, fd, protocol, extra, server) < 0 ||
        transport_set_peer(&self->base, peer, peer_size) < 0) {
        goto fail;
    }
    set_nodelay(self);
    if (transport_set_start(&self->base, waiter) < 0) {
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
stream_set_protocol(struct stream *self, PyObject *protocol)
{
    if (transport_settle(&self->base) < 0 || stream_take_protocol(self, protocol) < 0) {
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
    if (transport_settle(&self->base) < 0) {
        return NULL;
    }
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

static PyMethodDef stream_methods[] = {
    {"write", (PyCFunction)stream_write, METH_O,
     "write(data)\n--\n\nSend bytes, a bytearray or a memoryview."},
    {"writelines", (PyCFunction)stream_writelines, METH_O,
     "writelines(list_of_data)\n--\n\nSend them all, in one call where possible."},
    {"write_eof", (PyCFunction)stream_write_eof, METH_NOARGS,
     "write_eof()\n--\n\nClose the writing half when all is sent."},
    {"can_write_eof", (PyCFunction)stream_can_write_eof, METH_NOARGS, "True."},
    {"set_protocol", (PyCFunction)stream_set_protocol, METH_O,
     "set_protocol(protocol)\n--\n\nAnother protocol from now on."},
    {"_make_empty_waiter", (PyCFunction)stream_make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", (PyCFunction)stream_reset_empty_waiter, METH_NOARGS, NULL},
    {"_call_connection_lost", (PyCFunction)stream_call_connection_lost, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* --- life ------------------------------------------------------------------------------------------- */

static int
stream_traverse(struct stream *self, visitproc visit, void *arg)
{
    Py_VISIT(self->feeder);
    Py_VISIT(self->empty_waiter);
    return transport_traverse(&self->base, visit, arg);
}

static int
stream_clear(struct stream *self)
{
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
    {Py_tp_repr, transport_repr},
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
