/* Listener: a listening socket whose connections become transports without Python.
 *
 * asyncio makes a task per connection; here accepting is a loop in C, and the only
 * Python code per connection is the program's own (the protocol's factory, the server's
 * bookkeeping). Made by EventLoop._start_serving for servers without TLS. */
#define _GNU_SOURCE
#include "transport.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

struct listener {
    PyObject_HEAD struct source source;
    PyObject *loop;    /* owned */
    PyObject *sock;    /* owned: the listening socket; it has the descriptor */
    PyObject *factory; /* owned: makes a protocol */
    PyObject *server;  /* owned; NULL: none */
    PyObject *context; /* owned: what the factory runs in */
    int backlog;       /* connections to accept at a stretch */
    int fd;            /* borrowed from sock; -1: stopped */
};

static PyTypeObject *Listener_Type;

/* --- accepting ------------------------------------------------------------------------------ */

static int
accept_failed(struct listener *self, PyObject *protocol)
{
    if (exception_is_fatal()) {
        return -1;
    }
    PyObject *exception = exception_take();
    PyObject *args[] = {self->loop, exception, protocol != NULL ? protocol : Py_None};
    int res = report("accept_failed", args, 3);
    Py_DECREF(exception);
    return res;
}

/* The descriptor is the transport's from here on, or closed. */
static int
adopt(struct listener *self, int fd, const void *peer, unsigned peer_size)
{
    PyObject *protocol = PyObject_CallNoArgs(self->factory);
    PyObject *transport = protocol == NULL
                              ? NULL
                              : stream_new(self->loop, NULL, fd, protocol, NULL, NULL,
                                           self->server, peer, peer_size);
    int res = 0;
    if (transport == NULL) {
        close(fd);
        res = accept_failed(self, protocol);
    }
    Py_XDECREF(transport);
    Py_XDECREF(protocol);
    return res;
}

static bool
is_exhausted(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Told, stopped, and begun again after a while: by Python, as it is rare. */
static int
pause_accepting(struct listener *self, int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    PyObject *exception = exception_take();
    source_close(&self->source);
    PyObject *args[] = {(PyObject *)self, self->loop, self->sock, exception};
    int res = report("accept_exhausted", args, 4);
    Py_DECREF(exception);
    return res;
}

static int
accept_all(struct listener *self)
{
    for (int i = 0; i < self->backlog && self->source.listed; i++) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof(peer);
        int fd = accept4(socket_fd_now(self->sock, self->fd), (struct sockaddr *)&peer,
                         &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && is_exhausted(errno)) {
            return pause_accepting(self, errno);
        }
        if (fd < 0 && (errno == EAGAIN || errno == EBADF || errno == EINVAL ||
                       errno == ENOTSOCK || errno == EOPNOTSUPP)) {
            return 0; /* none is there, or the socket is no listener any more */
        }
        if (fd < 0) {
            continue; /* an error of that one connection */
        }
        if (adopt(self, fd, &peer, size) < 0) {
            return -1;
        }
    }
    /* The poll reports edges: there may be more. */
    return self->source.listed ? source_queue(&self->source, POLLIN) : 0;
}

static int
listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    struct listener *self = (struct listener *)source->object;
    if (!source->listed) {
        return 0;
    }
    if (PyContext_Enter(self->context) < 0) {
        return -1;
    }
    int res = accept_all(self);
    PyObject *exception = res < 0 ? exception_take() : NULL;
    if (PyContext_Exit(self->context) < 0) {
        PyErr_Clear();
    }
    if (exception != NULL) {
        (void)source_queue(source, POLLIN); /* the loop may run again */
        exception_raise(exception);
    }
    return res;
}

static const struct source_kind listener_kind = {
    .name = "listener",
    .watch = WATCH_STREAM,
    .ready = listener_ready,
};

/* --- methods ---------------------------------------------------------------------------------- */

static PyObject *
listener_start(struct listener *self, PyObject *none)
{
    (void)none;
    if (self->fd >= 0 && !self->source.listed &&
        source_open(&self->source, loop_core(self->loop), self->fd) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The socket may be closed afterwards: nothing holds its file. */
static PyObject *
listener_stop(struct listener *self, PyObject *none)
{
    (void)none;
    Py_INCREF(self);
    source_close(&self->source);
    if (self->fd >= 0) {
        source_flush(loop_core(self->loop));
        self->fd = -1;
    }
    Py_DECREF(self);
    Py_RETURN_NONE;
}

static PyMethodDef listener_methods[] = {
    {"start", (PyCFunction)listener_start, METH_NOARGS, "Accept connections."},
    {"stop", (PyCFunction)listener_stop, METH_NOARGS, "Accept none any more."},
    {NULL, NULL, 0, NULL},
};

/* Listener(loop, sock, protocol_factory, server, backlog) */
static PyObject *
listener_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *loop, *sock, *factory, *server;
    int backlog;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Listener() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OOOOi:Listener", &loop, &sock, &factory, &server,
                          &backlog) ||
        loop_core_checked(loop) == NULL) {
        return NULL;
    }
    int fd = socket_number(sock);
    struct listener *self = fd < 0 ? NULL : (struct listener *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    source_init(&self->source, &listener_kind, (PyObject *)self);
    self->fd = fd;
    self->backlog = backlog > 0 ? backlog : 1;
    self->loop = Py_NewRef(loop);
    self->sock = Py_NewRef(sock);
    self->factory = Py_NewRef(factory);
    self->server = server == Py_None ? NULL : Py_NewRef(server);
    self->context = PyContext_CopyCurrent();
    if (self->context == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* --- life ---------------------------------------------------------------------------------------- */

static int
listener_traverse(struct listener *self, visitproc visit, void *arg)
{
    Py_VISIT(self->loop);
    Py_VISIT(self->sock);
    Py_VISIT(self->factory);
    Py_VISIT(self->server);
    Py_VISIT(self->context);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int
listener_clear(struct listener *self)
{
    Py_CLEAR(self->sock);
    Py_CLEAR(self->factory);
    Py_CLEAR(self->server);
    Py_CLEAR(self->context);
    return 0;
}

static void
listener_dealloc(struct listener *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    assert(!self->source.listed && !self->source.queued);
    (void)listener_clear(self);
    Py_CLEAR(self->loop);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyType_Slot listener_slots[] = {
    {Py_tp_doc, "A listening socket whose connections become transports."},
    {Py_tp_new, listener_new},
    {Py_tp_dealloc, listener_dealloc},
    {Py_tp_traverse, listener_traverse},
    {Py_tp_clear, listener_clear},
    {Py_tp_methods, listener_methods},
    {0, NULL},
};

static PyType_Spec listener_spec = {
    .name = "syslet_loop._native.Listener",
    .basicsize = sizeof(struct listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = listener_slots,
};

int
listener_init(PyObject *module)
{
    Listener_Type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &listener_spec, NULL);
    return Listener_Type == NULL ? -1 : PyModule_AddType(module, Listener_Type);
}
