/* What a transport tells of itself: addresses, its socket, asyncio's attributes.
 *
 * Addresses are kept as the kernel gives them and converted when somebody asks; the
 * socket object is made then too. Used by transport.c and the types. */
#include "transport.h"

#include <stddef.h>
#include <sys/socket.h>

struct name { /* one of the two names of a socket */
    const char *key, *method;
    int (*ask)(int fd, struct sockaddr *address, socklen_t *size);
};

static const struct name local_name = {"sockname", "getsockname", getsockname};
static const struct name peer_name = {"peername", "getpeername", getpeername};

/* A socket object for a descriptor, which it would close. New reference. */
static PyObject *
socket_around(int fd)
{
    static PyObject *type; /* owned for ever */
    PyObject *socket_type = module_attribute(&type, "socket", "socket");
    PyObject *kwargs = Py_BuildValue("{s:i}", "fileno", fd);
    PyObject *args = PyTuple_New(0);
    PyObject *sock = socket_type == NULL || kwargs == NULL || args == NULL
                         ? NULL
                         : PyObject_Call(socket_type, args, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    return sock;
}

/* Steals sock, and leaves the descriptor to its owner. */
static int
socket_discard(PyObject *sock)
{
    PyObject *res = PyObject_CallMethod(sock, "detach", NULL);
    Py_DECREF(sock);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* A name of a family that only the socket object knows. New reference. */
static PyObject *
ask_object(struct transport *self, const struct name *name)
{
    PyObject *sock =
        self->sock != NULL ? Py_NewRef(self->sock) : socket_around(self->fd);
    if (sock == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_CallMethod(sock, name->method, NULL);
    if (object == NULL && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        object = Py_NewRef(Py_None);
    }
    if (self->sock != NULL) {
        Py_DECREF(sock);
    } else if (socket_discard(sock) < 0) {
        Py_CLEAR(object);
    }
    return object;
}

/* Into `raw` if it is of a common kind, else into the extra information at once. */
static int
keep_address(struct transport *self, const struct name *name, struct raw_address *raw,
             const struct sockaddr_storage *address, socklen_t size)
{
    bool known = size == 0 || address_is_known(address->ss_family);
    if (known && size <= ADDRESS_BYTES && size > 0 && address->ss_family != AF_UNIX) {
        raw->size = (uint8_t)size;
        memcpy(raw->bytes, address, size);
        return 0;
    }
    PyObject *object =
        known ? address_to_object(address, size) : ask_object(self, name);
    if (object == NULL) {
        return -1;
    }
    if (self->extra == NULL) {
        self->extra = PyDict_New();
    }
    int res =
        self->extra == NULL ? -1 : PyDict_SetItemString(self->extra, name->key, object);
    Py_DECREF(object);
    return res;
}

static int
ask_address(struct transport *self, const struct name *name, struct raw_address *raw)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    if (name->ask(self->fd, (struct sockaddr *)&address, &size) < 0) {
        return 0;
    }
    return keep_address(self, name, raw, &address, size);
}

static PyObject *
show_address(const struct raw_address *raw)
{
    if (raw->size == 0) {
        Py_RETURN_NONE;
    }
    struct sockaddr_storage address = {0};
    memcpy(&address, raw->bytes, raw->size);
    return address_to_object(&address, raw->size);
}

PyObject *
transport_socket(struct transport *self)
{
    if (self->sock != NULL || self->fd < 0) {
        return self->sock != NULL ? self->sock : Py_None;
    }
    PyObject *sock = socket_around(self->fd);
    if (sock == NULL) {
        return NULL;
    }
    if (self->sock != NULL || self->fd < 0) { /* another thread was faster */
        return socket_discard(sock) < 0 ? NULL : transport_socket(self);
    }
    self->sock = sock; /* the descriptor is its now */
    PyObject *res = PyObject_CallMethod(sock, "setblocking", "O", Py_False);
    Py_XDECREF(res);
    return res == NULL ? NULL : sock;
}

static int
add_item(PyObject *dict, const char *key, PyObject *value)
{
    int res = value == NULL ? -1 : 0;
    if (res == 0 && PyDict_GetItemString(dict, key) == NULL) {
        res = PyDict_SetItemString(dict, key, value);
    }
    Py_XDECREF(value);
    return res;
}

static PyObject *
wrapped_socket(struct transport *self)
{
    static PyObject *type; /* owned for ever */
    PyObject *sock = transport_socket(self);
    PyObject *wrapper =
        sock == NULL ? NULL
                     : module_attribute(&type, "asyncio.trsock", "TransportSocket");
    return wrapper == NULL ? NULL : PyObject_CallOneArg(wrapper, sock);
}

/* The dict of extra information, complete. Borrowed. */
static PyObject *
extra_of(struct transport *self)
{
    if (self->extra == NULL && (self->extra = PyDict_New()) == NULL) {
        return NULL;
    }
    PyObject *extra = self->extra;
    bool has_socket = self->fd >= 0 || self->sock != NULL; /* perhaps a closed one */
    if (PyDict_GetItemString(extra, "socket") == NULL && has_socket &&
        add_item(extra, "socket", wrapped_socket(self)) < 0) {
        return NULL;
    }
    if (add_item(extra, "sockname", show_address(&self->local)) < 0 ||
        add_item(extra, "peername", show_address(&self->peer)) < 0) {
        return NULL;
    }
    return extra;
}

PyObject *
transport_get_extra_info(struct transport *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "default", NULL};
    PyObject *name, *fallback = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_extra_info", keywords,
                                     &name, &fallback) ||
        transport_settle(self) < 0) {
        return NULL;
    }
    PyObject *extra = extra_of(self);
    if (extra == NULL) {
        return NULL;
    }
    PyObject *value = PyDict_GetItemWithError(extra, name);
    if (value == NULL && PyErr_Occurred()) {
        return NULL;
    }
    return Py_NewRef(value != NULL ? value : fallback);
}

int
transport_ask_local(struct transport *self)
{
    return ask_address(self, &local_name, &self->local);
}

static int
ask_peer(struct transport *self)
{
    if (self->extra != NULL && PyDict_GetItemString(self->extra, "peername") != NULL) {
        return 0;
    }
    return ask_address(self, &peer_name, &self->peer);
}

int
transport_set_peer(struct transport *self, const void *address, unsigned size)
{
    struct sockaddr_storage copy;
    if (size == 0 || size > sizeof(copy)) {
        return ask_peer(self);
    }
    memcpy(&copy, address, size);
    return keep_address(self, &peer_name, &self->peer, &copy, size);
}

/* --- attributes ---------------------------------------------------------------- */

static PyObject *
get_extra(struct transport *self, void *closure)
{
    (void)closure;
    return Py_XNewRef(extra_of(self));
}

static PyObject *
get_loop(struct transport *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->place == TRANSPORT_CLOSED ? Py_None : self->loop);
}

static PyObject *
get_sock(struct transport *self, void *closure)
{
    (void)closure;
    if (self->place == TRANSPORT_CLOSED) {
        Py_RETURN_NONE;
    }
    if (transport_settle(self) < 0) {
        return NULL;
    }
    return Py_XNewRef(transport_socket(self));
}

static PyObject *
get_sock_fd(struct transport *self, void *closure)
{
    (void)closure;
    if (transport_settle(self) < 0) {
        return NULL;
    }
    return PyLong_FromLong(self->source.fd);
}

static PyObject *
get_server(struct transport *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->server != NULL ? self->server : Py_None);
}

static PyObject *
get_closing(struct transport *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(transport_is_closing(self));
}

static PyObject *
get_is_polling(struct transport *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->source.listed && !self->paused &&
                           !transport_is_closing(self));
}

static PyObject *
get_protocol_paused(struct transport *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->protocol_paused);
}

static PyObject *
get_conn_lost(struct transport *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLong(transport_is_lost(self) + self->lost_writes);
}

PyGetSetDef transport_getset[] = {
    {"_extra", (getter)get_extra, NULL, NULL, NULL},
    {"_loop", (getter)get_loop, NULL, NULL, NULL},
    {"_sock", (getter)get_sock, NULL, NULL, NULL},
    {"_sock_fd", (getter)get_sock_fd, NULL, NULL, NULL},
    {"_server", (getter)get_server, NULL, NULL, NULL},
    {"_closing", (getter)get_closing, NULL, NULL, NULL},
    {"_polling", (getter)get_is_polling, NULL, NULL, NULL},
    {"_protocol_paused", (getter)get_protocol_paused, NULL, NULL, NULL},
    {"_conn_lost", (getter)get_conn_lost, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMemberDef transport_members[] = {
    {"_protocol", T_OBJECT, offsetof(struct transport, protocol), READONLY, NULL},
    {"_paused", T_BOOL, offsetof(struct transport, paused), READONLY, NULL},
    {"_high_water", T_PYSSIZET, offsetof(struct transport, high), READONLY, NULL},
    {"_low_water", T_PYSSIZET, offsetof(struct transport, low), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
