/* The attempts of the socket methods: what a call does each time it goes on.
 *
 * Each method has two forms. The native one makes the system call on the descriptor of
 * a plain socket.socket, in a form that cannot block. The other one calls the socket
 * object's own method, for types that may do anything and for arguments that only the
 * object can judge: so every complaint about an argument is the socket module's own.
 * Nothing here waits; sock.c does when an attempt says so. */
#include "sock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static struct { /* owned for ever: interned strings */
    PyObject *accept, *gettimeout, *recv, *recv_into, *recvfrom, *recvfrom_into, *send,
        *sendto, *setblocking;
} words;

/* What is received when the caller asked for a new object: few messages are as long as
 * what was asked for. The interpreter's lock is held while anything is in here. */
static char scratch[LOCKED_BYTES_MAX];

/* --- system calls ---------------------------------------------------------------------------- */

/* A signal came first: its handler runs, and unless that raised it is tried again. */
static bool
again(ssize_t n)
{
    return UNLIKELY(n < 0) && errno == EINTR && PyErr_CheckSignals() == 0;
}

static enum outcome
refused(void)
{
    if (PyErr_Occurred()) { /* a signal's handler raised */
        return OUTCOME_ERROR;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return OUTCOME_WAIT;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return OUTCOME_ERROR;
}

struct peer { /* where it came from or goes to */
    struct sockaddr_storage address;
    socklen_t length;
};

/* peer: NULL if the caller does not want to know. */
static ssize_t
receive(int fd, void *data, size_t size, struct peer *peer)
{
    ssize_t n;
    struct sockaddr *address = peer == NULL ? NULL : (struct sockaddr *)&peer->address;
    do {
        socklen_t *length = peer == NULL ? NULL : &peer->length;
        if (peer != NULL) {
            peer->length = sizeof(peer->address);
        }
        if (LIKELY(size <= LOCKED_BYTES_MAX)) {
            n = recvfrom(fd, data, size, MSG_DONTWAIT, address, length);
        } else {
            Py_BEGIN_ALLOW_THREADS;
            n = recvfrom(fd, data, size, MSG_DONTWAIT, address, length);
            Py_END_ALLOW_THREADS;
        }
    } while (again(n));
    return n;
}

/* peer: NULL for a connected socket. */
static ssize_t
give(int fd, const void *data, size_t size, const struct peer *peer)
{
    enum { FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL };
    ssize_t n;
    const struct sockaddr *address =
        peer == NULL ? NULL : (const struct sockaddr *)&peer->address;
    socklen_t length = peer == NULL ? 0 : peer->length;
    do {
        if (LIKELY(size <= LOCKED_BYTES_MAX)) {
            n = sendto(fd, data, size, FLAGS, address, length);
        } else {
            Py_BEGIN_ALLOW_THREADS;
            n = sendto(fd, data, size, FLAGS, address, length);
            Py_END_ALLOW_THREADS;
        }
    } while (again(n));
    return n;
}

static enum outcome
value(PyObject *object, PyObject **result)
{
    *result = object;
    return UNLIKELY(object == NULL) ? OUTCOME_ERROR : OUTCOME_VALUE;
}

/* Steals first, which may be NULL. */
static enum outcome
with_address(PyObject *first, const struct peer *peer, PyObject **result)
{
    PyObject *pair = NULL;
    PyObject *address =
        first == NULL ? NULL : address_to_object(&peer->address, peer->length);
    if (address != NULL) {
        pair = PyTuple_Pack(2, first, address);
        Py_DECREF(address);
    }
    Py_XDECREF(first);
    return value(pair, result);
}

/* New bytes of what there is, up to the size asked for. VALUE: *bytes is new. */
static enum outcome
receive_bytes(int fd, Py_ssize_t size, struct peer *peer, PyObject **bytes)
{
    ssize_t n;
    if (LIKELY(size <= LOCKED_BYTES_MAX)) {
        n = receive(fd, scratch, (size_t)size, peer);
        return n < 0 ? refused() : value(PyBytes_FromStringAndSize(scratch, n), bytes);
    }
    PyObject *object = PyBytes_FromStringAndSize(NULL, size);
    if (object == NULL) {
        return OUTCOME_ERROR;
    }
    n = receive(fd, PyBytes_AS_STRING(object), (size_t)size, peer);
    if (n < 0) {
        enum outcome outcome = refused();
        Py_DECREF(object);
        return outcome;
    }
    if (n != size) {
        (void)_PyBytes_Resize(&object, n);
    }
    return value(object, bytes);
}

/* --- arguments -------------------------------------------------------------------------------- */

static bool
take_size(struct sock_call *self, PyObject *number)
{
    if (!PyLong_CheckExact(number)) {
        return false;
    }
#if PY_VERSION_HEX >= 0x030c0000
    const PyLongObject *small = (const PyLongObject *)number;
    if (LIKELY(PyUnstable_Long_IsCompact(small))) {
        self->size = PyUnstable_Long_CompactValue(small);
        return self->size >= 0;
    }
#endif
    self->size = PyLong_AsSsize_t(number);
    if (UNLIKELY(self->size < 0)) {
        PyErr_Clear();
        return false;
    }
    return true;
}

static bool
take_memory(struct sock_call *self, int flags)
{
    if (UNLIKELY(PyObject_GetBuffer(self->args[1], &self->view, flags) < 0)) {
        PyErr_Clear();
        return false;
    }
    self->size = self->view.len;
    return true;
}

/* Memory to be sent. Bytes never move, and the call holds them. */
static bool
take_data(struct sock_call *self)
{
    PyObject *data = self->args[1];
    if (UNLIKELY(!PyBytes_CheckExact(data))) {
        return take_memory(self, PyBUF_SIMPLE);
    }
    self->view.buf = PyBytes_AS_STRING(data);
    self->size = PyBytes_GET_SIZE(data);
    return true;
}

/* --- asking the socket object ------------------------------------------------------------------- */

/* VALUE: *result is what the method returned. */
static enum outcome
ask(PyObject *method, PyObject *const *args, size_t count, PyObject **result)
{
    *result = PyObject_VectorcallMethod(method, args, count, NULL);
    if (*result != NULL) {
        return OUTCOME_VALUE;
    }
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return OUTCOME_WAIT;
    }
    return OUTCOME_ERROR;
}

/* --- sock_recv ------------------------------------------------------------------------------------ */

static bool
recv_prepare(struct sock_call *self, const struct socket_facts *facts)
{
    (void)facts;
    return take_size(self, self->args[1]);
}

static enum outcome
recv_native(struct sock_call *self, const struct socket_facts *facts, PyObject **result)
{
    if (UNLIKELY(self->size == 0)) { /* the socket module does not ask the kernel */
        return value(PyBytes_FromStringAndSize(NULL, 0), result);
    }
    return receive_bytes(facts->fd, self->size, NULL, result);
}

static enum outcome
recv_ask(struct sock_call *self, PyObject **result)
{
    return ask(words.recv, self->args, 2, result);
}

/* --- sock_recv_into ---------------------------------------------------------------------------------- */

static bool
recv_into_prepare(struct sock_call *self, const struct socket_facts *facts)
{
    (void)facts;
    return take_memory(self, PyBUF_WRITABLE);
}

static enum outcome
recv_into_native(struct sock_call *self, const struct socket_facts *facts,
                 PyObject **result)
{
    if (UNLIKELY(self->size == 0)) {
        return value(PyLong_FromLong(0), result);
    }
    ssize_t n = receive(facts->fd, self->view.buf, (size_t)self->size, NULL);
    return n < 0 ? refused() : value(PyLong_FromSsize_t(n), result);
}

static enum outcome
recv_into_ask(struct sock_call *self, PyObject **result)
{
    return ask(words.recv_into, self->args, 2, result);
}

/* --- sock_recvfrom ------------------------------------------------------------------------------------ */

static bool
recvfrom_prepare(struct sock_call *self, const struct socket_facts *facts)
{
    return address_is_known(facts->family) && take_size(self, self->args[1]);
}

static enum outcome
recvfrom_native(struct sock_call *self, const struct socket_facts *facts,
                PyObject **result)
{
    struct peer peer;
    PyObject *bytes;
    enum outcome outcome = receive_bytes(facts->fd, self->size, &peer, &bytes);
    return outcome == OUTCOME_VALUE ? with_address(bytes, &peer, result) : outcome;
}

static enum outcome
recvfrom_ask(struct sock_call *self, PyObject **result)
{
    return ask(words.recvfrom, self->args, 2, result);
}

/* --- sock_recvfrom_into -------------------------------------------------------------------------------- */

static bool
recvfrom_into_prepare(struct sock_call *self, const struct socket_facts *facts)
{
    if (!address_is_known(facts->family) || !take_memory(self, PyBUF_WRITABLE)) {
        return false;
    }
    if (self->args[2] == NULL) {
        return true;
    }
    if (!take_size(self, self->args[2]) || self->size > self->view.len) {
        return false;
    }
    if (self->size == 0) {
        self->size = self->view.len;
    }
    return true;
}

static enum outcome
recvfrom_into_native(struct sock_call *self, const struct socket_facts *facts,
                     PyObject **result)
{
    struct peer peer;
    ssize_t n = receive(facts->fd, self->view.buf, (size_t)self->size, &peer);
    return n < 0 ? refused() : with_address(PyLong_FromSsize_t(n), &peer, result);
}

static enum outcome
recvfrom_into_ask(struct sock_call *self, PyObject **result)
{
    int given = self->args[2] == NULL ? 0 : PyObject_IsTrue(self->args[2]);
    if (given == 0) { /* asyncio says it to the socket, which would find it as well */
        Py_ssize_t size = PyObject_Size(self->args[1]);
        Py_XSETREF(self->args[2], size < 0 ? NULL : PyLong_FromSsize_t(size));
    }
    if (given < 0 || self->args[2] == NULL) {
        return OUTCOME_ERROR;
    }
    return ask(words.recvfrom_into, self->args, 3, result);
}

/* --- sock_sendall ---------------------------------------------------------------------------------------- */

static bool
sendall_prepare(struct sock_call *self, const struct socket_facts *facts)
{
    (void)facts;
    return take_data(self);
}

/* A send that took less than it was given has filled the buffer: no second try. */
static enum outcome
sent(struct sock_call *self, Py_ssize_t n, Py_ssize_t size, PyObject **result)
{
    self->done += n;
    if (UNLIKELY(self->done < size)) {
        return OUTCOME_WAIT;
    }
    *result = Py_NewRef(Py_None);
    return OUTCOME_VALUE;
}

static enum outcome
sendall_native(struct sock_call *self, const struct socket_facts *facts,
               PyObject **result)
{
    const char *rest = (const char *)self->view.buf + self->done;
    ssize_t n = give(facts->fd, rest, (size_t)(self->size - self->done), NULL);
    return n < 0 ? refused() : sent(self, n, self->size, result);
}

/* What is still to be sent: the object itself at first, then a view of its rest. */
static PyObject *
rest_of(const struct sock_call *self)
{
    if (self->done == 0) {
        return Py_NewRef(self->args[1]);
    }
    PyObject *view = PyMemoryView_FromObject(self->args[1]);
    PyObject *rest = NULL;
    if (view != NULL) {
        rest = PySequence_GetSlice(view, self->done, PY_SSIZE_T_MAX);
        Py_DECREF(view);
    }
    return rest;
}

static enum outcome
sendall_ask(struct sock_call *self, PyObject **result)
{
    PyObject *answer;
    PyObject *args[] = {self->args[0], rest_of(self)};
    if (args[1] == NULL) {
        return OUTCOME_ERROR;
    }
    enum outcome outcome = ask(words.send, args, 2, &answer);
    Py_DECREF(args[1]);
    if (outcome != OUTCOME_VALUE) {
        return outcome;
    }
    Py_ssize_t n = PyNumber_AsSsize_t(answer, PyExc_OverflowError);
    Py_DECREF(answer);
    if (n == -1 && PyErr_Occurred()) {
        return OUTCOME_ERROR;
    }
    Py_ssize_t size = PyObject_Size(self->args[1]);
    return size < 0 ? OUTCOME_ERROR : sent(self, n, size, result);
}

/* --- sock_sendto ------------------------------------------------------------------------------------------ */

static bool
sendto_prepare(struct sock_call *self, const struct socket_facts *facts)
{
    return address_is_known(facts->family) && take_data(self);
}

static enum outcome
sendto_ask(struct sock_call *self, PyObject **result)
{
    return ask(words.sendto, self->args, 3, result);
}

static enum outcome
sendto_native(struct sock_call *self, const struct socket_facts *facts,
              PyObject **result)
{
    struct peer peer;
    int known =
        address_from_object(facts->family, self->args[2], &peer.address, &peer.length);
    if (known <= 0) { /* a host name, or a mistake */
        return known == 0 ? sendto_ask(self, result) : OUTCOME_ERROR;
    }
    if (PySys_Audit("socket.sendto", "OO", self->args[0], self->args[2]) < 0) {
        return OUTCOME_ERROR;
    }
    int fd = socket_fd_now(self->args[0], facts->fd); /* a hook may have closed it */
    ssize_t n = give(fd, self->view.buf, (size_t)self->size, &peer);
    return n < 0 ? refused() : value(PyLong_FromSsize_t(n), result);
}

/* --- sock_accept -------------------------------------------------------------------------------------------- */

/* accept4 has no flag against waiting: the listener itself must be non-blocking. */
static bool
accept_prepare(struct sock_call *self, const struct socket_facts *facts)
{
    PyObject *timeout = NULL;
    if (address_is_known(facts->family)) {
        timeout = PyObject_CallMethodNoArgs(self->args[0], words.gettimeout);
    }
    bool never_waits =
        timeout != NULL && PyFloat_Check(timeout) && PyFloat_AS_DOUBLE(timeout) == 0.0;
    PyErr_Clear();
    Py_XDECREF(timeout);
    return never_waits;
}

static enum outcome
accept_native(struct sock_call *self, const struct socket_facts *facts,
              PyObject **result)
{
    (void)self;
    struct peer peer;
    struct socket_facts made = *facts;
    do {
        peer.length = sizeof(peer.address);
        made.fd = accept4(facts->fd, (struct sockaddr *)&peer.address, &peer.length,
                          SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (again(made.fd));
    if (made.fd < 0) {
        return refused();
    }
    PyObject *conn = socket_from_accepted(&made);
    if (conn == NULL) {
        close(made.fd);
    }
    return with_address(conn, &peer, result);
}

/* Steals pair: what the object's accept() returned. */
static enum outcome
unblock(PyObject *pair, PyObject **result)
{
    PyObject *res = NULL;
    PyObject *made = PySequence_Tuple(pair);
    Py_DECREF(pair);
    if (made != NULL && PyTuple_GET_SIZE(made) != 2) {
        PyErr_SetString(PyExc_ValueError, "accept() did not return two values");
    } else if (made != NULL) {
        res = PyObject_CallMethodOneArg(PyTuple_GET_ITEM(made, 0), words.setblocking,
                                        Py_False);
    }
    if (res == NULL) {
        Py_CLEAR(made);
    }
    Py_XDECREF(res);
    return value(made, result);
}

static enum outcome
accept_ask(struct sock_call *self, PyObject **result)
{
    PyObject *pair;
    enum outcome outcome = ask(words.accept, self->args, 1, &pair);
    return outcome == OUTCOME_VALUE ? unblock(pair, result) : outcome;
}

/* --- the table ------------------------------------------------------------------------------------------------- */

static const char *const size_parameters[] = {"sock", "n"};
static const char *const bufsize_parameters[] = {"sock", "bufsize"};
static const char *const buf_parameters[] = {"sock", "buf", "nbytes"};
static const char *const data_parameters[] = {"sock", "data", "address"};

#define ROW(method, names, least, limit)                                               \
    {.name = "sock_" #method,                                                          \
     .parameters = names,                                                              \
     .required = least,                                                                \
     .most = limit,                                                                    \
     .prepare = method##_prepare,                                                      \
     .native = method##_native,                                                        \
     .ask = method##_ask}

struct sock_kind sock_kinds[SOCK_METHODS_COUNT] = {
    [SOCK_RECV] = ROW(recv, size_parameters, 2, 2),
    [SOCK_RECV_INTO] = ROW(recv_into, buf_parameters, 2, 2),
    [SOCK_RECVFROM] = ROW(recvfrom, bufsize_parameters, 2, 2),
    [SOCK_RECVFROM_INTO] = ROW(recvfrom_into, buf_parameters, 2, 3),
    [SOCK_SENDALL] = ROW(sendall, data_parameters, 2, 2),
    [SOCK_SENDTO] = ROW(sendto, data_parameters, 3, 3),
    [SOCK_ACCEPT] = ROW(accept, size_parameters, 1, 1),
};

int
sock_calls_init(void)
{
    static const struct {
        PyObject **slot;
        const char *text;
    } rows[] = {
        {&words.accept, "accept"},
        {&words.gettimeout, "gettimeout"},
        {&words.recv, "recv"},
        {&words.recv_into, "recv_into"},
        {&words.recvfrom, "recvfrom"},
        {&words.recvfrom_into, "recvfrom_into"},
        {&words.send, "send"},
        {&words.sendto, "sendto"},
        {&words.setblocking, "setblocking"},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(rows); i++) {
        *rows[i].slot = PyUnicode_InternFromString(rows[i].text);
        if (*rows[i].slot == NULL) {
            return -1;
        }
    }
    return 0;
}
