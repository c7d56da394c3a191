/* The writing half of a datagram transport.
 *
 * A datagram is sent within sendto() if no other waits; else it waits as bytes until
 * the descriptor has room. Callbacks of the protocol may close the transport, so every
 * step after one looks at the place again. */
#include "datagram.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

enum {
    LETTERS_FIRST = 4,
    /* From 3.13 on asyncio counts the header of a datagram, and sends empty ones. */
    EMPTY_ARE_SENT = PY_VERSION_HEX >= 0x030d0000,
    HEADER_BYTES = EMPTY_ARE_SENT ? 8 : 0,
};

/* --- the letters --------------------------------------------------------------------------- */

static struct letter *
letter_at(struct datagram *self, uint32_t index)
{
    return &self->letters[(self->letters_head + index) & self->letters_mask];
}

static int
letters_grow(struct datagram *self)
{
    uint32_t room =
        self->letters == NULL ? LETTERS_FIRST : (self->letters_mask + 1) * 2;
    struct letter *letters = PyMem_Malloc(room * sizeof(*letters));
    if (letters == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < self->letters_count; i++) {
        letters[i] = *letter_at(self, i);
    }
    PyMem_Free(self->letters);
    self->letters = letters;
    self->letters_head = 0;
    self->letters_mask = room - 1;
    return 0;
}

/* Steals bytes, which may be NULL: an exception is set. */
static int
letter_add(struct datagram *self, PyObject *bytes, PyObject *address)
{
    if (bytes == NULL) {
        return -1;
    }
    bool full = self->letters == NULL || self->letters_count > self->letters_mask;
    if (full && letters_grow(self) < 0) {
        Py_DECREF(bytes);
        return -1;
    }
    *letter_at(self, self->letters_count) = (struct letter){bytes, Py_XNewRef(address)};
    self->letters_count += 1;
    self->base.buffered += PyBytes_GET_SIZE(bytes) + HEADER_BYTES;
    return 0;
}

static void
letter_drop(struct datagram *self)
{
    struct letter letter = *letter_at(self, 0);
    self->letters_head += 1;
    self->letters_count -= 1;
    self->base.buffered -= PyBytes_GET_SIZE(letter.bytes) + HEADER_BYTES;
    Py_DECREF(letter.bytes);
    Py_XDECREF(letter.address);
}

void
datagram_forget_letters(struct datagram *self)
{
    while (self->letters_count > 0) {
        letter_drop(self);
    }
}

/* --- sending --------------------------------------------------------------------------------- */

enum sending { SENT, SEND_WAITS, SEND_FAILED }; /* FAILED: an exception is set */

struct message {
    PyObject *object; /* borrowed: what is sent */
    const char *data; /* borrowed from object */
    Py_ssize_t size;
    PyObject *address; /* borrowed; NULL: none */
};

/* Names of hosts, and all that is wrong: the socket object knows. */
static enum sending
ask_socket(struct datagram *self, const struct message *message)
{
    PyObject *res =
        PyObject_CallMethod(self->base.sock, "sendto", "OO", message->object,
                            message->address != NULL ? message->address : Py_None);
    if (res != NULL) {
        Py_DECREF(res);
        return SENT;
    }
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return SEND_WAITS;
    }
    return SEND_FAILED;
}

static enum sending
send_to(struct datagram *self, const struct message *message, const void *address,
        unsigned size)
{
    ssize_t sent;
    do {
        sent = sendto(transport_fd(&self->base), message->data, (size_t)message->size,
                      MSG_DONTWAIT | MSG_NOSIGNAL, address, size);
    } while (sent < 0 && errno == EINTR);
    if (LIKELY(sent >= 0)) {
        return SENT;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return SEND_WAITS;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return SEND_FAILED;
}

static enum sending
send_message(struct datagram *self, const struct message *message)
{
    if (self->connected) {
        return send_to(self, message, NULL, 0);
    }
    struct sockaddr_storage storage;
    const void *address;
    unsigned size;
    if (message->address == NULL ||
        datagram_target(self, message->address, &storage, &address, &size) == 0) {
        return ask_socket(self, message);
    }
    if (address != &storage) { /* a hook that sends may put another in its place */
        memcpy(&storage, address, size);
    }
    if (PySys_Audit("socket.sendto", "OO", self->base.sock, message->address) < 0) {
        return SEND_FAILED;
    }
    return send_to(self, message, &storage, size);
}

int
datagram_tell_error(struct datagram *self)
{
    PyObject *exception = exception_take();
    PyObject *res =
        protocol_call(&self->base, transport_names.error_received, exception);
    Py_DECREF(exception);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
send_failed(struct datagram *self)
{
    return PyErr_ExceptionMatches(PyExc_OSError)
               ? datagram_tell_error(self)
               : transport_fatal(&self->base,
                                 "Fatal write error on datagram transport");
}

/* Sends the first of them. Whoever is asked on the way (the socket's own method, an
 * audit hook) may end the transport, which forgets them all: then none is left. */
static enum sending
letter_send(struct datagram *self)
{
    struct letter letter = *letter_at(self, 0);
    Py_INCREF(letter.bytes);
    Py_XINCREF(letter.address);
    const struct message message = {letter.bytes, PyBytes_AS_STRING(letter.bytes),
                                    PyBytes_GET_SIZE(letter.bytes), letter.address};
    enum sending sending = send_message(self, &message);
    if (sending != SEND_WAITS && self->letters_count > 0) {
        letter_drop(self);
    }
    Py_DECREF(letter.bytes);
    Py_XDECREF(letter.address);
    return sending;
}

/* Nothing waits: as asyncio removes its writer. */
static int
written(struct datagram *self)
{
    self->writing = false;
    transport_hold(&self->base);
    return self->base.place == TRANSPORT_CLOSING ? transport_end(&self->base, NULL) : 0;
}

/* After an error the rest is left to the next tick, as in asyncio. */
int
datagram_write_ready(struct transport *base)
{
    struct datagram *self = (struct datagram *)base;
    while (self->letters_count > 0) {
        enum sending sending = letter_send(self);
        if (sending == SEND_WAITS) {
            source_want_write(&base->source);
            break;
        }
        if (sending == SEND_FAILED) {
            return source_queue(&base->source, POLLOUT) < 0 ? -1 : send_failed(self);
        }
    }
    if (transport_maybe_resume(base) < 0) { /* it may send more */
        (void)source_queue(&base->source, POLLOUT);
        return -1;
    }
    return transport_is_lost(base) || self->letters_count > 0 ? 0 : written(self);
}

/* --- sendto() ---------------------------------------------------------------------------------- */

/* First kept, then watched for: the latter may run code that ends the transport. */
static int
keep(struct datagram *self, const struct message *message)
{
    bool first = self->letters_count == 0;
    PyObject *bytes = PyBytes_CheckExact(message->object)
                          ? Py_NewRef(message->object)
                          : PyBytes_FromObject(message->object);
    if (letter_add(self, bytes, message->address) < 0) {
        return -1;
    }
    self->writing = true;
    if (first && transport_want_write(&self->base) < 0) {
        return -1;
    }
    return transport_maybe_pause(&self->base);
}

static int
send_or_keep(struct datagram *self, const struct message *message)
{
    if (self->letters_count > 0) {
        return keep(self, message);
    }
    enum sending sending = send_message(self, message);
    if (LIKELY(sending == SENT)) {
        return 0;
    }
    if (sending == SEND_FAILED) {
        return send_failed(self);
    }
    if (transport_is_lost(&self->base)) {
        return 0; /* the descriptor will be closed before there is room */
    }
    return keep(self, message);
}

/* A view that no socket can send is sent if it waits: then it is copied. */
static int
send_object(struct datagram *self, PyObject *data, PyObject *address)
{
    struct message message = {data, NULL, 0, address};
    if (LIKELY(PyBytes_CheckExact(data))) {
        message.data = PyBytes_AS_STRING(data);
        message.size = PyBytes_GET_SIZE(data);
        return send_or_keep(self, &message);
    }
    if (self->letters_count > 0) {
        return keep(self, &message);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return send_failed(self);
    }
    message.data = view.buf;
    message.size = view.len;
    int res = send_or_keep(self, &message);
    PyBuffer_Release(&view);
    return res;
}

/* The address that is used; *address: borrowed, NULL for none. */
static int
choose_address(struct datagram *self, PyObject **address)
{
    PyObject *fixed = self->address;
    if (*address == Py_None) {
        *address = NULL;
    }
    if (fixed == NULL) {
        return 0;
    }
    int same = *address == NULL ? 1 : PyObject_RichCompareBool(*address, fixed, Py_EQ);
    if (same == 0) {
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", fixed);
    }
    *address = fixed;
    return same == 1 ? 0 : -1;
}

/* 1: it is to be sent. 0: it is empty, and such are not. -1: exception. */
static int
check_data(PyObject *data)
{
    if (LIKELY(PyBytes_Check(data) || PyByteArray_Check(data) ||
               PyMemoryView_Check(data))) {
        return EMPTY_ARE_SENT ? 1 : PyObject_IsTrue(data);
    }
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(data), "__name__");
    if (name != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "data argument must be a bytes-like object, not %R", name);
        Py_DECREF(name);
    }
    return -1;
}

/* An endpoint without a remote address sends as long as it has its descriptor. */
static int
send_checked(struct datagram *self, PyObject *data, PyObject *address)
{
    int res = check_data(data);
    if (res <= 0) {
        return res;
    }
    if (choose_address(self, &address) < 0) {
        return -1;
    }
    bool lost = transport_is_lost(&self->base);
    if (lost && (self->address != NULL || self->base.fd < 0)) {
        return transport_write_lost(&self->base);
    }
    return send_object(self, data, address);
}

/* sendto(data, addr=None), either by name. */
static int
parse(PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject *values[2])
{
    static const char *const parameters[] = {"data", "addr"};
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "sendto() takes at most 2 arguments (%zd given)",
                     count + named);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        values[i] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        int place = 0;
        while (place < 2 &&
               PyUnicode_CompareWithASCIIString(keyword, parameters[place]) != 0) {
            place += 1;
        }
        if (place == 2 || values[place] != NULL) {
            PyErr_Format(PyExc_TypeError,
                         place == 2 ? "sendto() got an unexpected keyword argument '%U'"
                                    : "sendto() got multiple values for argument '%U'",
                         keyword);
            return -1;
        }
        values[place] = args[count + i];
    }
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "sendto() missing required argument 'data' (pos 1)");
    }
    return values[0] == NULL ? -1 : 0;
}

PyObject *
datagram_sendto(struct datagram *self, PyObject *const *args, Py_ssize_t count,
                PyObject *keywords)
{
    PyObject *values[2] = {NULL, NULL};
    if (parse(args, count, keywords, values) < 0) {
        return NULL;
    }
    Py_INCREF(self);
    int res = send_checked(self, values[0], values[1] != NULL ? values[1] : Py_None);
    Py_DECREF(self);
    if (res < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
