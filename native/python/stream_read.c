/* The reading half of a stream transport: from readiness to the protocol's callbacks.
 *
 * Data is received into one buffer of the loop's, which is a bytes object. A large
 * message is not copied: the buffer is cut to the message, handed to the protocol and
 * taken back if nobody kept it. A small one is copied into a second such object, which
 * saves allocating one. A protocol that keeps one of the two gets copies of the right
 * size from then on, because what it kept is as large as the buffer. */
#include "reader.h"
#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    RECEIVE_BYTES = 256 * 1024, /* at most at once, as asyncio */
    COPY_BYTES = 16 * 1024,     /* messages up to this are copied */
    SMALL_BYTES = 4 * 1024,     /* those up to this into an object that is used again */
};

/* --- data_received ---------------------------------------------------------------------------- */

/* The loop's buffer, alone in our hands. New reference: the core has none meanwhile. */
static PyObject *
take(PyObject **slot, Py_ssize_t size)
{
    PyObject *buffer = *slot;
    *slot = NULL;
    return buffer != NULL ? buffer : PyBytes_FromStringAndSize(NULL, size);
}

static void
buffer_give(struct core *core, PyObject *buffer)
{
    Py_XSETREF(core->buffer, buffer);
}

/* Only for an object that nobody else can see. Its hash is that of other bytes. */
static void
bytes_set_size(PyObject *bytes, Py_ssize_t size)
{
    Py_SET_SIZE(bytes, size);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    ((PyBytesObject *)bytes)->ob_shash = -1;
#pragma GCC diagnostic pop
    PyBytes_AS_STRING(bytes)[size] = '\0';
}

static int
deliver(struct stream *self, PyObject *data)
{
    PyObject *res = protocol_call(&self->base, transport_names.data_received, data);
    if (LIKELY(res != NULL)) {
        Py_DECREF(res);
        return transport_settle(
            &self->base); /* it may have written what it was given */
    }
    return transport_fatal(&self->base,
                           "Fatal error: protocol.data_received() call failed.");
}

/* Steals buffer, of which `size` bytes are the message. It returns to its slot, whole,
 * if the protocol has not kept it. */
static int
deliver_cut(struct stream *self, PyObject *buffer, Py_ssize_t size, PyObject **slot)
{
    Py_ssize_t whole = PyBytes_GET_SIZE(buffer);
    bytes_set_size(buffer, size);
    int res = deliver(self, buffer);
    if (LIKELY(Py_REFCNT(buffer) == 1)) {
        bytes_set_size(buffer, whole);
        Py_XSETREF(*slot, buffer);
    } else {
        self->keeps_bytes = true;
        Py_DECREF(buffer);
    }
    return res;
}

/* The core outlives this: the transport, which is alive, has its loop. */
static int
deliver_copy(struct stream *self, PyObject *buffer, Py_ssize_t size)
{
    struct core *core = loop_core(self->base.loop);
    const char *data = PyBytes_AS_STRING(buffer);
    bool again = size <= SMALL_BYTES && !self->keeps_bytes;
    PyObject *copy =
        again ? take(&core->small, SMALL_BYTES) : PyBytes_FromStringAndSize(data, size);
    if (copy != NULL && again) {
        memcpy(PyBytes_AS_STRING(copy), data, (size_t)size);
    }
    buffer_give(core, buffer);
    if (copy == NULL) { /* nobody else has these bytes */
        return transport_fatal(&self->base, "Fatal read error on socket transport");
    }
    if (again) {
        return deliver_cut(self, copy, size, &core->small);
    }
    int res = deliver(self, copy);
    Py_DECREF(copy);
    return res;
}

/* The feeder is kept alive: a full buffer pauses the transport. */
static int
deliver_stream(struct stream *self, PyObject *buffer, Py_ssize_t size)
{
    PyObject *feeder = Py_NewRef(self->feeder);
    int res = reader_feed(feeder, PyBytes_AS_STRING(buffer), size);
    Py_DECREF(feeder);
    buffer_give(loop_core(self->base.loop), buffer);
    return LIKELY(res == 0)
               ? 0
               : transport_fatal(&self->base,
                                 "Fatal error: protocol.data_received() call failed.");
}

/* --- the ways to read: the count of bytes, 0 at the end, -EAGAIN, -1: fatal exception,
 * -2: the connection has ended with an error ------------------------------------------- */

enum { READ_FATAL = -1, READ_ENDED = -2 };

static ssize_t
read_failed(struct stream *self, const char *message)
{
    return transport_fatal(&self->base, message) < 0 ? READ_FATAL : READ_ENDED;
}

static ssize_t
receive_failed(struct stream *self)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        return -EAGAIN;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    if (self->base
            .gathers) { /* it cannot be sent any more; that would hide this error */
        stream_forget_chunks(self);
    }
    return read_failed(self, "Fatal read error on socket transport");
}

/* *more: something may be left. */
static ssize_t
receive(struct stream *self, char *data, size_t room, bool *more)
{
    int fd = transport_fd(&self->base);
    if (LIKELY(self->trust == TRUST_SHORT)) {
        ssize_t size = recv(fd, data, room, MSG_DONTWAIT);
        *more = size == (ssize_t)room || (size < 0 && errno == EINTR);
        return size;
    }
    struct iovec iovec = {data, room};
    struct msghdr message = {.msg_iov = &iovec, .msg_iovlen = 1};
    ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT);
    *more = size == (ssize_t)room || (size < 0 && errno == EINTR) ||
            (size > 0 &&
             (self->trust == TRUST_NONE || (message.msg_flags & MSG_CTRUNC) != 0));
    return size;
}

static ssize_t
read_bytes(struct stream *self, bool *more)
{
    struct core *core = loop_core(self->base.loop);
    PyObject *buffer = take(&core->buffer, RECEIVE_BYTES);
    if (buffer == NULL) {
        return read_failed(self, "Fatal read error on socket transport");
    }
    ssize_t size = receive(self, PyBytes_AS_STRING(buffer), RECEIVE_BYTES, more);
    if (size <= 0) {
        int error = errno;
        buffer_give(core, buffer);
        errno = error;
        return size == 0 ? 0 : receive_failed(self);
    }
    bool copied = size <= COPY_BYTES || self->keeps_bytes;
    int res = self->reader == READER_STREAM ? deliver_stream(self, buffer, size)
              : copied ? deliver_copy(self, buffer, size)
                       : deliver_cut(self, buffer, size, &core->buffer);
    return res < 0 ? READ_FATAL : size;
}

/* The protocol's buffer, which is not empty. New reference. */
static PyObject *
ask_for_buffer(struct stream *self)
{
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *buffer =
        hint == NULL ? NULL
                     : protocol_call(&self->base, transport_names.get_buffer, hint);
    Py_XDECREF(hint);
    Py_ssize_t size = buffer == NULL ? -1 : PyObject_Size(buffer);
    if (size == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    if (size <= 0) {
        Py_CLEAR(buffer);
    }
    return buffer;
}

/* asyncio's error is that of sock.recv_into. */
static int
open_buffer(PyObject *buffer, Py_buffer *view)
{
    if (LIKELY(PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) == 0)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "recv_into() argument 1 must be read-write bytes-like object, not %s",
                 Py_TYPE(buffer)->tp_name);
    return -1;
}

static ssize_t
read_buffered(struct stream *self, bool *more)
{
    Py_buffer view;
    PyObject *buffer = ask_for_buffer(self);
    if (buffer == NULL) {
        return read_failed(self, "Fatal error: protocol.get_buffer() call failed.");
    }
    int opened = open_buffer(buffer, &view);
    Py_DECREF(buffer);
    if (opened < 0) {
        return read_failed(self, "Fatal read error on socket transport");
    }
    if (transport_is_lost(&self->base)) { /* by get_buffer */
        PyBuffer_Release(&view);
        return READ_ENDED;
    }
    ssize_t size = receive(self, view.buf, (size_t)view.len, more);
    int error = errno;
    PyBuffer_Release(&view);
    errno = error;
    if (size <= 0) {
        return size == 0 ? 0 : receive_failed(self);
    }
    PyObject *count = PyLong_FromSsize_t(size);
    PyObject *res =
        count == NULL
            ? NULL
            : protocol_call(&self->base, transport_names.buffer_updated, count);
    Py_XDECREF(count);
    if (res == NULL) {
        return read_failed(self, "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(res);
    return size;
}

/* --- readiness ---------------------------------------------------------------------------------- */

/* -1: the protocol may not know of the end, and is told again. */
static int
read_end(struct stream *self)
{
    struct transport *base = &self->base;
    if (UNLIKELY(loop_core(base->loop)->debug)) {
        PyObject *args[] = {(PyObject *)self};
        if (report("received_eof", args, 1) < 0) {
            return -1;
        }
    }
    PyObject *res = protocol_call(base, transport_names.eof_received, NULL);
    int stays = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    if (stays < 0) {
        return transport_fatal(&self->base,
                               "Fatal error: protocol.eof_received() call failed.");
    }
    if (stays) {
        base->read_ended = true;
        transport_hold(base); /* nothing more is read */
        return 0;
    }
    return transport_close(base);
}

int
stream_read_ready(struct transport *base)
{
    struct stream *self = (struct stream *)base;
    if (base->place != TRANSPORT_OPEN || base->paused || self->base.read_ended) {
        return 0; /* resume_reading looks again */
    }
    bool more = false;
    ssize_t size = self->reader == READER_BUFFERED ? read_buffered(self, &more)
                                                   : read_bytes(self, &more);
    if (size > 0) {
        /* A poll reports edges: what is left has to be asked for. */
        if ((more || self->hangup) && base->place == TRANSPORT_OPEN) {
            return source_queue(&base->source, POLLIN);
        }
        return 0;
    }
    if (size == 0) {
        size = read_end(self) < 0 ? READ_FATAL : READ_ENDED;
    }
    if (size == -EAGAIN) {
        self->hangup = false; /* urgent data, or a peer that came back: all is read */
        return more ? source_queue(&base->source, POLLIN) : 0; /* EINTR */
    }
    if (size == READ_FATAL && base->place == TRANSPORT_OPEN) {
        (void)source_queue(&base->source, POLLIN); /* the loop may run again */
    }
    return size == READ_FATAL ? -1 : 0;
}
