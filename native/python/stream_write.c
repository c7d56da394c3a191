/* The writing half of a stream transport.
 *
 * What can be sent at once is; the rest waits as bytes objects until the descriptor has
 * room. A callback of the protocol may close the transport, so every step after one
 * looks at the place again. */
#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { CHUNKS_FIRST = 4, SENDS_MAX = 16 };

/* --- the chunks ----------------------------------------------------------------------------- */

static struct chunk *
chunk_at(struct stream *self, uint32_t index)
{
    return &self->chunks[(self->chunks_head + index) & self->chunks_mask];
}

static int
chunks_grow(struct stream *self)
{
    uint32_t room = self->chunks == NULL ? CHUNKS_FIRST : (self->chunks_mask + 1) * 2;
    struct chunk *chunks = PyMem_Malloc(room * sizeof(*chunks));
    if (chunks == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < self->chunks_count; i++) {
        chunks[i] = *chunk_at(self, i);
    }
    PyMem_Free(self->chunks);
    self->chunks = chunks;
    self->chunks_head = 0;
    self->chunks_mask = room - 1;
    return 0;
}

int
stream_add_chunk(struct stream *self, PyObject *bytes, Py_ssize_t sent)
{
    if (bytes == NULL) {
        return -1;
    }
    bool full = self->chunks == NULL || self->chunks_count > self->chunks_mask;
    if (full && chunks_grow(self) < 0) {
        Py_DECREF(bytes);
        return -1;
    }
    *chunk_at(self, self->chunks_count) = (struct chunk){bytes, sent};
    self->chunks_count += 1;
    self->base.buffered += PyBytes_GET_SIZE(bytes) - sent;
    return 0;
}

void
stream_forget_chunks(struct stream *self)
{
    while (self->chunks_count > 0) {
        PyObject *bytes = chunk_at(self, 0)->bytes;
        self->chunks_head += 1;
        self->chunks_count -= 1;
        Py_DECREF(bytes);
    }
    self->base.buffered = 0;
    self->base.gathers = false;
}

static void
chunks_advance(struct stream *self, Py_ssize_t sent)
{
    self->base.buffered -= sent;
    while (sent > 0) {
        struct chunk *chunk = chunk_at(self, 0);
        Py_ssize_t left = PyBytes_GET_SIZE(chunk->bytes) - chunk->sent;
        if (sent < left) {
            chunk->sent += sent;
            return;
        }
        sent -= left;
        PyObject *bytes = chunk->bytes;
        self->chunks_head += 1;
        self->chunks_count -= 1;
        Py_DECREF(bytes);
    }
}

/* --- sending --------------------------------------------------------------------------------- */

static ssize_t
send_many(struct stream *self)
{
    struct iovec iovecs[IOVECS];
    uint32_t count = self->chunks_count < IOVECS ? self->chunks_count : IOVECS;
    for (uint32_t i = 0; i < count; i++) {
        struct chunk *chunk = chunk_at(self, i);
        iovecs[i].iov_base = PyBytes_AS_STRING(chunk->bytes) + chunk->sent;
        iovecs[i].iov_len = (size_t)(PyBytes_GET_SIZE(chunk->bytes) - chunk->sent);
    }
    struct msghdr message = {.msg_iov = iovecs, .msg_iovlen = count};
    return sendmsg(transport_fd(&self->base), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t
send_one(struct stream *self)
{
    const struct chunk *chunk = chunk_at(self, 0);
    return send(transport_fd(&self->base),
                PyBytes_AS_STRING(chunk->bytes) + chunk->sent,
                (size_t)(PyBytes_GET_SIZE(chunk->bytes) - chunk->sent),
                MSG_DONTWAIT | MSG_NOSIGNAL);
}

int
stream_send_chunks(struct stream *self)
{
    ssize_t sent = self->chunks_count == 1 ? send_one(self) : send_many(self);
    if (sent < 0) {
        return -1;
    }
    chunks_advance(self, sent);
    return 0;
}

bool
stream_error_is_temporary(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* It stays until _reset_empty_waiter; one that was cancelled is left alone. */
static int
tell_waiter(struct stream *self)
{
    PyObject *waiter = self->empty_waiter;
    return waiter == NULL ? 0 : report("all_sent", &waiter, 1);
}

int
stream_write_failed(struct stream *self)
{
    PyErr_SetFromErrno(PyExc_OSError);
    stream_forget_chunks(self);
    PyObject *exception =
        transport_failed(&self->base, "Fatal write error on socket transport");
    int res = exception == NULL ? -1 : transport_force_close(&self->base, exception);
    PyObject *args[] = {self->empty_waiter, exception};
    if (res == 0 && self->empty_waiter != NULL) {
        Py_INCREF(args[0]);
        res = report("not_sent", args, 2);
        Py_DECREF(args[0]);
    }
    Py_XDECREF(exception);
    return res;
}

/* Everything is sent: whoever waited for that is told. */
static int
written(struct stream *self)
{
    transport_hold(&self->base);
    if (tell_waiter(self) < 0) {
        return -1;
    }
    if (self->base.place == TRANSPORT_CLOSING) {
        self->reader = READER_BYTES;
        Py_CLEAR(self->feeder);
        return transport_end(&self->base, NULL);
    }
    if (self->eof && self->base.place == TRANSPORT_OPEN) {
        shutdown(transport_fd(&self->base), SHUT_WR);
    }
    return 0;
}

int
stream_write_ready(struct transport *base)
{
    struct stream *self = (struct stream *)base;
    for (int turns = 0; self->chunks_count > 0 && !transport_is_lost(base); turns++) {
        if (turns == SENDS_MAX) { /* a protocol that writes as fast as the peer reads */
            return source_queue(&base->source, POLLOUT);
        }
        if (stream_send_chunks(self) < 0) {
            if (!stream_error_is_temporary(errno)) {
                return stream_write_failed(self);
            }
            source_want_write(&self->base.source);
            return 0;
        }
        if (transport_maybe_resume(&self->base) < 0) { /* it may write more */
            (void)source_queue(&self->base.source, POLLOUT);
            return -1;
        }
    }
    return transport_is_lost(&self->base) ? 0 : written(self);
}

/* --- write() ----------------------------------------------------------------------------------- */

static int
refuse_write(struct stream *self)
{
    if (self->eof) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot call write() after write_eof()");
        return -1;
    }
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "unable to write; sendfile is in progress");
        return -1;
    }
    return 0;
}

/* `bytes` from `sent` on, or a copy of that part of the data if it is NULL. */
static int
keep(struct stream *self, const char *data, Py_ssize_t size, PyObject *bytes,
     Py_ssize_t sent)
{
    return bytes != NULL
               ? stream_add_chunk(self, Py_NewRef(bytes), sent)
               : stream_add_chunk(
                     self, PyBytes_FromStringAndSize(data + sent, size - sent), 0);
}

/* Sends what it can, unless more will come. The rest becomes a chunk. */
static int
send_or_keep(struct stream *self, const char *data, Py_ssize_t size, PyObject *bytes)
{
    ssize_t sent = 0;
    if (UNLIKELY(stream_may_gather(self, size, bytes == NULL))) {
        return keep(self, data, size, bytes, 0) < 0 ? -1 : stream_gathered(self);
    }
    if (transport_settle(&self->base) < 0) {
        return -1;
    }
    if (transport_is_lost(&self->base)) {
        return transport_write_lost(&self->base);
    }
    if (self->chunks_count == 0) {
        int fd = transport_fd(&self->base);
        sent = send(fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (LIKELY(sent == size)) {
            return 0;
        }
        if (sent < 0 && !stream_error_is_temporary(errno)) {
            return stream_write_failed(self);
        }
        sent = sent < 0 ? 0 : sent;
    }
    /* First kept, then watched for: the latter may run code that writes more. */
    bool first = self->chunks_count == 0;
    if (keep(self, data, size, bytes, sent) < 0 ||
        (first && transport_want_write(&self->base) < 0)) {
        return -1;
    }
    return transport_maybe_pause(&self->base);
}

static int
write_bytes(struct stream *self, const char *data, Py_ssize_t size, PyObject *bytes)
{
    int res = refuse_write(self);
    if (res < 0 || size == 0) {
        return res;
    }
    Py_INCREF(self);
    res = transport_is_lost(&self->base) ? transport_write_lost(&self->base)
                                         : send_or_keep(self, data, size, bytes);
    Py_DECREF(self);
    return res;
}

/* A view that the socket cannot send is an error of the connection, as in asyncio. */
static int
view_failed(struct stream *self)
{
    PyObject *exception = exception_take();
    int res = refuse_write(self);
    if (res == 0 && transport_is_lost(&self->base)) {
        res = transport_write_lost(&self->base);
    } else if (res == 0) {
        exception_raise(exception);
        return transport_fatal(&self->base, "Fatal write error on socket transport");
    }
    Py_DECREF(exception);
    return res;
}

PyObject *
stream_write(struct stream *self, PyObject *data)
{
    int res;
    if (LIKELY(PyBytes_CheckExact(data))) {
        res = write_bytes(self, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), data);
    } else if (PyBytes_Check(data) || PyByteArray_Check(data) ||
               PyMemoryView_Check(data)) {
        Py_buffer view;
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
            res = view_failed(self);
        } else {
            res = write_bytes(self, view.buf, view.len, NULL);
            PyBuffer_Release(&view);
        }
    } else {
        const char *name = strrchr(Py_TYPE(data)->tp_name, '.');
        return PyErr_Format(PyExc_TypeError,
                            "data argument must be a bytes-like object, not '%s'",
                            name != NULL ? name + 1 : Py_TYPE(data)->tp_name);
    }
    if (res < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
as_bytes(PyObject *data)
{
    if (PyBytes_CheckExact(data)) {
        return Py_NewRef(data);
    }
    PyObject *view = PyMemoryView_FromObject(data); /* asyncio's TypeError */
    PyObject *bytes = view == NULL ? NULL : PyObject_Bytes(view);
    Py_XDECREF(view);
    return bytes;
}

/* All or none of the list becomes chunks. */
static int
keep_all(struct stream *self, PyObject *items)
{
    Py_ssize_t count = PyTuple_GET_SIZE(items);
    PyObject *all = PyTuple_New(count);
    for (Py_ssize_t i = 0; all != NULL && i < count; i++) {
        PyObject *bytes = as_bytes(PyTuple_GET_ITEM(items, i));
        if (bytes == NULL) {
            Py_CLEAR(all);
        } else {
            PyTuple_SET_ITEM(all, i, bytes);
        }
    }
    int res = all == NULL ? -1 : 0;
    if (transport_is_lost(&self->base)) { /* by a __buffer__ */
        count = 0;
    }
    for (Py_ssize_t i = 0; res == 0 && i < count; i++) {
        PyObject *bytes = PyTuple_GET_ITEM(all, i);
        if (PyBytes_GET_SIZE(bytes) > 0) {
            res = stream_add_chunk(self, Py_NewRef(bytes), 0);
        }
    }
    Py_XDECREF(all);
    return res;
}

PyObject *
stream_writelines(struct stream *self, PyObject *list)
{
    if (refuse_write(self) < 0) {
        return NULL;
    }
    PyObject *items = PySequence_Tuple(list); /* ours: nobody changes it meanwhile */
    if (items == NULL) {
        return NULL;
    }
    Py_INCREF(self);
    int res = transport_settle(&self->base);
    bool was_empty = self->chunks_count == 0;
    if (res < 0) {
        /* nothing was written */
    } else if (transport_is_lost(&self->base)) {
        res = PyTuple_GET_SIZE(items) > 0 ? transport_write_lost(&self->base) : 0;
    } else if (PyTuple_GET_SIZE(items) > 0) {
        res = keep_all(self, items);
        if (res == 0 && was_empty && self->chunks_count > 0) {
            res = transport_want_write(&self->base) < 0
                      ? -1
                      : stream_write_ready(&self->base);
        }
        if (res == 0 && !transport_is_lost(&self->base)) {
            res = transport_maybe_pause(&self->base);
        }
    }
    Py_DECREF(self);
    Py_DECREF(items);
    if (res < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
stream_write_eof(struct stream *self, PyObject *none)
{
    (void)none;
    if (transport_settle(&self->base) < 0) {
        return NULL;
    }
    if (transport_is_closing(&self->base) || self->eof) {
        Py_RETURN_NONE;
    }
    self->eof = true;
    if (self->chunks_count == 0 && shutdown(transport_fd(&self->base), SHUT_WR) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}
