/* DatagramTransport: a datagram socket, its beginning, its methods and its end.
 *
 * Reading is in datagram_read.c, writing in datagram_write.c, and what it remembers of
 * addresses in datagram_address.c. */
#include "datagram.h"
#include "sock.h"

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

enum { EVENT_START = 1 << 30 }; /* the first event: the transport is made */

static PyTypeObject *DatagramTransport_Type;

/* --- readiness ------------------------------------------------------------------------------- */

static int
begin_watching(struct datagram *self)
{
    struct transport *base = &self->base;
    if (transport_is_lost(base) || base->source.listed) {
        return 0;
    }
    if (source_open(&base->source, loop_core(base->loop), base->fd) < 0) {
        return -1;
    }
    if (self->writing) {
        source_want_write(&base->source);
    }
    datagram_hold(self);
    return 0;
}

/* What asyncio schedules as three callbacks: connection_made, reading, the waiter. Each
 * happens whatever became of the one before. */
static int
start(struct datagram *self)
{
    PyObject *context = self->made_context;
    PyObject *waiter = self->waiter;
    self->made_context = self->waiter = NULL;
    int res = context_run(context, transport_tell_made, &self->base);
    Py_DECREF(context);
    PyObject *exception = res < 0 ? exception_take() : NULL;
    if (begin_watching(self) < 0) {
        res = -1;
    }
    if (transport_tell_waiter(waiter) < 0) {
        res = -1;
    }
    if (exception != NULL) {
        PyErr_Clear();
        exception_raise(exception);
    }
    return res;
}

void
datagram_hold(struct datagram *self)
{
    const struct transport *base = &self->base;
    bool reads = base->place == TRANSPORT_OPEN && !base->paused;
    source_hold(&self->base.source, reads || self->writing);
}

static int
datagram_ready(struct source *source, uint32_t events)
{
    struct transport *base = (struct transport *)source->object;
    struct datagram *self = (struct datagram *)base;
    if (UNLIKELY(self->made_context != NULL) && start(self) < 0) {
        return -1;
    }
    self->seen = events;
    bool room = (events & (POLLOUT | POLLHUP | POLLERR)) != 0;
    if ((events & (POLLIN | POLLRDHUP | POLLHUP | POLLERR | DATAGRAM_AGAIN)) &&
        context_run(base->read_context, datagram_read_ready, base) < 0) {
        if (room && self->writing) {
            (void)source_queue(source, POLLOUT);
        }
        return -1;
    }
    if (!room || !self->writing) {
        return 0;
    }
    return context_run(self->write_context, datagram_write_ready, base);
}

static const struct source_kind datagram_kind = {
    .name = "datagram",
    .watch = WATCH_STREAM,
    .ready = datagram_ready,
};

/* --- creation ------------------------------------------------------------------------------------- */

static int
ask_option(int fd, int option)
{
    int value = 0;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? 0 : value;
}

static void
note_kind(struct datagram *self)
{
    struct socket_facts facts = {0};
    if (!socket_read_facts(self->base.sock, &facts)) {
        facts.family = ask_option(self->base.fd, SO_DOMAIN);
        facts.type = ask_option(self->base.fd, SO_TYPE);
    }
    self->family = facts.family;
    self->packets = (facts.family == AF_INET || facts.family == AF_INET6) &&
                    (facts.type & SOCK_DGRAM) != 0;
}

/* asyncio uses send() if the peer's name is true, and sendto() otherwise. */
static int
note_peer(struct datagram *self)
{
    if (transport_set_peer(&self->base, NULL, 0) < 0) {
        return -1;
    }
    PyObject *extra = self->base.extra;
    PyObject *name = extra == NULL ? NULL : PyDict_GetItemString(extra, "peername");
    int named = name == NULL ? 0 : PyObject_IsTrue(name);
    self->connected = named == 1 || self->base.peer.size > 0;
    return named < 0 ? -1 : 0;
}

static int
set_up(struct datagram *self, PyObject *address, PyObject *waiter)
{
    int fixed = address == NULL ? 0 : PyObject_IsTrue(address);
    if (fixed < 0 || note_peer(self) < 0) {
        return -1;
    }
    note_kind(self);
    self->address = fixed ? Py_NewRef(address) : NULL;
    self->waiter = waiter == NULL || waiter == Py_None ? NULL : Py_NewRef(waiter);
    self->made_context = PyContext_CopyCurrent();
    return self->made_context == NULL ? -1
                                      : source_queue(&self->base.source, EVENT_START);
}

/* DatagramTransport(loop, sock, protocol, address=None, waiter=None, extra=None) */
static PyObject *
datagram_type_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"loop",   "sock",  "protocol", "address",
                               "waiter", "extra", NULL};
    PyObject *loop, *sock, *protocol, *address = NULL, *waiter = NULL, *extra = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|OOO:DatagramTransport",
                                     keywords, &loop, &sock, &protocol, &address,
                                     &waiter, &extra) ||
        loop_core_checked(loop) == NULL) {
        return NULL;
    }
    int fd = socket_number(sock);
    struct datagram *self = fd < 0 ? NULL : (struct datagram *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    source_init(&self->base.source, &datagram_kind, (PyObject *)self);
    self->base.source.core = loop_core(loop);
    self->base.source.fd = fd;
    self->base.fd = -1;
    if (transport_set_up(&self->base, loop, sock, fd, protocol, extra, NULL) < 0 ||
        set_up(self, address, waiter) < 0) {
        transport_abandon(&self->base);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* --- methods ----------------------------------------------------------------------------------------- */

static PyObject *
debug_log(struct datagram *self, const char *what)
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
datagram_is_reading(struct datagram *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(!transport_is_closing(&self->base) && !self->base.paused);
}

static PyObject *
datagram_pause_reading(struct datagram *self, PyObject *none)
{
    (void)none;
    if (transport_is_closing(&self->base) || self->base.paused) {
        Py_RETURN_NONE;
    }
    self->base.paused = true;
    datagram_hold(self);
    return debug_log(self, "paused_reading");
}

static PyObject *
datagram_resume_reading(struct datagram *self, PyObject *none)
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
    datagram_hold(self);
    /* Edges seen meanwhile are forgotten: look. */
    if (self->base.source.listed && source_queue(&self->base.source, POLLIN) < 0) {
        return NULL;
    }
    return debug_log(self, "resumed_reading");
}

static PyObject *
datagram_set_protocol(struct datagram *self, PyObject *protocol)
{
    Py_XSETREF(self->base.protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *
datagram_repr(PyObject *self)
{
    static PyObject *function; /* owned for ever */
    PyObject *describe =
        module_attribute(&function, "syslet_loop.reports", "describe_transport");
    return describe == NULL ? NULL : PyObject_CallOneArg(describe, self);
}

static PyMethodDef datagram_methods[] = {
    {"sendto", (PyCFunction)(void (*)(void))datagram_sendto,
     METH_FASTCALL | METH_KEYWORDS,
     "sendto(data, addr=None)\n--\n\nSend a datagram of bytes, a bytearray or a "
     "memoryview."},
    {"close", (PyCFunction)datagram_close, METH_NOARGS,
     "close()\n--\n\nClose when all is sent; connection_lost(None) is called."},
    {"abort", (PyCFunction)datagram_abort, METH_NOARGS,
     "abort()\n--\n\nClose now; what is not sent is lost."},
    {"is_reading", (PyCFunction)datagram_is_reading, METH_NOARGS,
     "is_reading()\n--\n\nWhether datagrams are being received."},
    {"pause_reading", (PyCFunction)datagram_pause_reading, METH_NOARGS,
     "pause_reading()\n--\n\nReceive nothing until resume_reading()."},
    {"resume_reading", (PyCFunction)datagram_resume_reading, METH_NOARGS,
     "resume_reading()\n--\n\nReceive again."},
    {"set_protocol", (PyCFunction)datagram_set_protocol, METH_O,
     "set_protocol(protocol)\n--\n\nAnother protocol from now on."},
    {"_force_close", (PyCFunction)datagram_force_close_method, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* --- life ------------------------------------------------------------------------------------------- */

static int
datagram_traverse(struct datagram *self, visitproc visit, void *arg)
{
    Py_VISIT(self->address);
    Py_VISIT(self->made_context);
    Py_VISIT(self->write_context);
    Py_VISIT(self->waiter);
    for (uint32_t i = 0; i < self->letters_count; i++) {
        uint32_t place = (self->letters_head + i) & self->letters_mask;
        Py_VISIT(self->letters[place].address);
    }
    return transport_traverse(&self->base, visit, arg);
}

/* The letters go with the object: an address in a cycle is broken elsewhere in it. */
static int
datagram_clear(struct datagram *self)
{
    Py_CLEAR(self->address);
    Py_CLEAR(self->made_context);
    Py_CLEAR(self->write_context);
    Py_CLEAR(self->waiter);
    return transport_clear(&self->base);
}

static void
datagram_dealloc(struct datagram *self)
{
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    source_close(&self->base.source); /* one that nobody held */
    (void)datagram_clear(self);
    datagram_forget_letters(self);
    datagram_forget_batch(self);
    datagram_forget_addresses(self);
    PyMem_Free(self->letters);
    transport_free(&self->base);
}

static PyMemberDef datagram_members[] = {
    {"_address", T_OBJECT, offsetof(struct datagram, address), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct transport, weakrefs), READONLY,
     NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(struct transport, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot datagram_slots[] = {
    {Py_tp_doc, "A datagram socket; an asyncio.DatagramTransport."},
    {Py_tp_new, datagram_type_new},
    {Py_tp_init, transport_init}, /* not BaseTransport's: tp_new did it all */
    {Py_tp_dealloc, datagram_dealloc},
    {Py_tp_finalize, transport_finalize},
    {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, datagram_clear},
    {Py_tp_repr, datagram_repr},
    {Py_tp_methods, datagram_methods},
    {Py_tp_members, datagram_members},
    {0, NULL},
};

static PyType_Spec datagram_spec = {
    .name = "syslet_loop._native.DatagramTransport",
    .basicsize = sizeof(struct datagram),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = datagram_slots,
};

/* (asyncio.transports._FlowControlMixin, asyncio.DatagramTransport): a new tuple. */
static PyObject *
bases(void)
{
    PyObject *module = PyImport_ImportModule("asyncio.transports");
    PyObject *mixin =
        module == NULL ? NULL : PyObject_GetAttrString(module, "_FlowControlMixin");
    PyObject *plain =
        mixin == NULL ? NULL : PyObject_GetAttrString(module, "DatagramTransport");
    PyObject *both = plain == NULL ? NULL : PyTuple_Pack(2, mixin, plain);
    Py_XDECREF(plain);
    Py_XDECREF(mixin);
    Py_XDECREF(module);
    return both;
}

/* sendfile and start_tls are for streams: asyncio refuses a transport without these. */
static int
remove_stream_marks(PyTypeObject *type)
{
    PyObject *object = (PyObject *)type;
    return PyObject_DelAttrString(object, "_sendfile_compatible") < 0 ||
                   PyObject_DelAttrString(object, "_start_tls_compatible") < 0
               ? -1
               : 0;
}

int
datagram_init(PyObject *module)
{
    PyObject *both = bases();
    if (both == NULL) {
        return -1;
    }
    DatagramTransport_Type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &datagram_spec, both);
    Py_DECREF(both);
    return DatagramTransport_Type == NULL ||
                   transport_type_add(DatagramTransport_Type) < 0 ||
                   remove_stream_marks(DatagramTransport_Type) < 0
               ? -1
               : PyModule_AddType(module, DatagramTransport_Type);
}
