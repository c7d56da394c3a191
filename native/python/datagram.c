/* DatagramTransport: a datagram socket, its beginning, its methods and its end.
 *
 * Reading is in datagram_read.c, writing in datagram_write.c, and what it remembers of
 * addresses in datagram_address.c. */
#include "datagram.h"
#include "sock.h"

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

static PyTypeObject *DatagramTransport_Type;

/* --- readiness ------------------------------------------------------------------------------- */

static int
datagram_ready(struct source *source, uint32_t events)
{
    struct transport *base = (struct transport *)source->object;
    struct datagram *self = (struct datagram *)base;
    if (UNLIKELY(base->made_context != NULL) && transport_start(base) < 0) {
        return transport_not_handled(base, events);
    }
    self->seen = events;
    bool room = (events & (POLLOUT | POLLHUP | POLLERR)) != 0;
    if ((events & (POLLIN | POLLRDHUP | POLLHUP | POLLERR | DATAGRAM_AGAIN)) &&
        base->read_context != NULL &&
        context_run(base->read_context, datagram_read_ready, base) < 0) {
        return transport_not_handled(base, events & (POLLOUT | POLLHUP | POLLERR));
    }
    if (!room || !self->writing || base->write_context == NULL) {
        return 0;
    }
    return context_run(base->write_context, datagram_write_ready, base);
}

static bool
has_letters(const struct transport *base)
{
    return ((const struct datagram *)base)->letters_count > 0;
}

static bool
is_writing(const struct transport *base)
{
    return ((const struct datagram *)base)->writing;
}

static void
forget_read(struct transport *base)
{
    datagram_forget_batch((struct datagram *)base);
}

static void
forget(struct transport *base)
{
    struct datagram *self = (struct datagram *)base;
    self->writing = false;
    datagram_forget_letters(self);
    datagram_forget_batch(self);
}

static const struct transport_kind datagram_kind = {
    .source = {.name = "datagram", .watch = WATCH_STREAM, .ready = datagram_ready},
    .unsent = has_letters,
    .writing = is_writing,
    .forget = forget,
    .forget_read = forget_read,
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
    return transport_set_start(&self->base, waiter);
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
    source_init(&self->base.source, &datagram_kind.source, (PyObject *)self);
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
datagram_set_protocol(struct datagram *self, PyObject *protocol)
{
    Py_XSETREF(self->base.protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyMethodDef datagram_methods[] = {
    {"sendto", (PyCFunction)(void (*)(void))datagram_sendto,
     METH_FASTCALL | METH_KEYWORDS,
     "sendto(data, addr=None)\n--\n\nSend a datagram of bytes, a bytearray or a "
     "memoryview."},
    {"set_protocol", (PyCFunction)datagram_set_protocol, METH_O,
     "set_protocol(protocol)\n--\n\nAnother protocol from now on."},
    {NULL, NULL, 0, NULL},
};

/* --- life ------------------------------------------------------------------------------------------- */

static int
datagram_traverse(struct datagram *self, visitproc visit, void *arg)
{
    Py_VISIT(self->address);
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
    {Py_tp_repr, transport_repr},
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
