/* The reading half of a datagram transport: from readiness to the protocol's callbacks.
 *
 * Datagrams are received many at a time, with one system call: when it brings fewer
 * than it might have, the socket is empty, and the next edge will be seen. They go to
 * the protocol one by one, each in bytes of its own; what a pause or an exception keeps
 * from it stays in the batch. Transports deliver one after the other, so one batch does
 * for all of them, and is kept for the next. */
#include "datagram.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    PACKET_BYTES = 64 * 1024,   /* no IP datagram is larger */
    RECEIVE_BYTES = 256 * 1024, /* at most, as asyncio: others may be larger */
    BATCH_PACKETS = 16,
    BATCH_BYTES = BATCH_PACKETS * PACKET_BYTES,
};

struct batch {
    unsigned count, next; /* received; the first that is not delivered */
    size_t room;          /* for each; BATCH_BYTES / room fit in */
    struct mmsghdr headers[BATCH_PACKETS];
    struct iovec iovecs[BATCH_PACKETS];
    struct sockaddr_storage addresses[BATCH_PACKETS];
    char bytes[BATCH_BYTES]; /* pages that nothing was received into cost nothing */
};

static struct batch *spare; /* owned; NULL: none, or in use */

/* --- batches ------------------------------------------------------------------------------ */

static void
lay_out(struct batch *batch, size_t room)
{
    batch->room = room;
    for (size_t i = 0; i < BATCH_BYTES / room; i++) {
        batch->iovecs[i] = (struct iovec){batch->bytes + i * room, room};
        batch->headers[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->addresses[i],
            .msg_namelen = sizeof(batch->addresses[i]),
            .msg_iov = &batch->iovecs[i],
            .msg_iovlen = 1,
        };
    }
}

static struct batch *
batch_take(size_t room)
{
    struct batch *batch = spare;
    spare = NULL;
    if (batch == NULL) {
        batch = malloc(sizeof(*batch));
        if (batch == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        batch->room = 0;
    }
    batch->count = batch->next = 0;
    if (batch->room != room) {
        lay_out(batch, room);
    }
    return batch;
}

static void
batch_give(struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        batch->headers[i].msg_hdr.msg_namelen = sizeof(batch->addresses[i]);
    }
    if (spare == NULL) {
        spare = batch;
    } else {
        free(batch);
    }
}

void
datagram_forget_batch(struct datagram *self)
{
    struct batch *batch = self->batch;
    self->batch = NULL;
    if (batch != NULL) {
        batch_give(batch);
    }
}

/* --- delivery ------------------------------------------------------------------------------- */

static int
deliver(struct datagram *self, PyObject *data, PyObject *address)
{
    PyObject *protocol = Py_NewRef(self->base.protocol);
    PyObject *args[] = {protocol, data, address};
    PyObject *res = PyObject_VectorcallMethod(transport_names.datagram_received, args,
                                              3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(protocol);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
deliver_next(struct datagram *self)
{
    struct batch *batch = self->batch;
    unsigned at = batch->next++;
    const struct sockaddr_storage sender = batch->addresses[at];
    unsigned size = batch->headers[at].msg_hdr.msg_namelen;
    PyObject *data = PyBytes_FromStringAndSize(batch->iovecs[at].iov_base,
                                               batch->headers[at].msg_len);
    /* The collector may run here, and what it runs may end the transport: then the
     * batch is gone, and nothing more is delivered. */
    PyObject *address = data == NULL ? NULL : datagram_sender(self, &sender, size);
    int res = 0;
    if (address == NULL) {
        res = transport_fatal(&self->base, "Fatal read error on datagram transport");
    } else if (self->batch == batch) {
        res = deliver(self, data, address);
    }
    Py_XDECREF(address);
    Py_XDECREF(data);
    return res;
}

/* The protocol may pause or close the transport, which forgets the batch. */
static int
deliver_batch(struct datagram *self)
{
    int res = 0;
    while (res == 0 && self->batch != NULL && !self->base.paused &&
           self->batch->next < self->batch->count) {
        res = deliver_next(self);
    }
    if (self->batch != NULL && self->batch->next == self->batch->count) {
        datagram_forget_batch(self);
    }
    return res;
}

/* --- readiness ------------------------------------------------------------------------------- */

int
datagram_look_again(struct datagram *self)
{
    struct source *source = &self->base.source;
    return source->listed && self->base.place == TRANSPORT_OPEN
               ? source_queue(source, DATAGRAM_AGAIN)
               : 0;
}

/* The exception that is set is told. What the kernel says once it has to say again: the
 * look after an error is the last until the next edge, or a descriptor that only fails
 * would keep the loop busy. */
static int
tell_failure(struct datagram *self)
{
    if (self->seen != DATAGRAM_AGAIN && datagram_look_again(self) < 0) {
        return -1;
    }
    return datagram_tell_error(self);
}

static int
receive_failed(struct datagram *self)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return 0;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return tell_failure(self);
}

/* 1: the batch has something. 0: there is nothing, or an error, which was told. */
static int
receive(struct datagram *self, bool *full)
{
    struct batch *batch = batch_take(self->packets ? PACKET_BYTES : RECEIVE_BYTES);
    if (batch == NULL) {
        return transport_fatal(&self->base, "Fatal read error on datagram transport");
    }
    unsigned most = (unsigned)(BATCH_BYTES / batch->room);
    int count;
    do {
        count = recvmmsg(transport_fd(&self->base), batch->headers, most, MSG_DONTWAIT,
                         NULL);
    } while (count < 0 && errno == EINTR);
    if (count <= 0) {
        batch_give(batch);
        return count < 0 ? receive_failed(self) : 0;
    }
    batch->count = (unsigned)count;
    self->batch = batch;
    *full = batch->count == most;
    return 1;
}

/* The socket object could not: as asyncio judges it. */
static int
ask_failed(struct datagram *self)
{
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return 0;
    }
    return PyErr_ExceptionMatches(PyExc_OSError)
               ? tell_failure(self)
               : transport_fatal(&self->base, "Fatal read error on datagram transport");
}

/* One datagram of a family whose addresses only the socket object can show. */
static int
read_by_asking(struct datagram *self)
{
    PyObject *pair =
        PyObject_CallMethod(self->base.sock, "recvfrom", "i", (int)RECEIVE_BYTES);
    if (pair != NULL && (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2)) {
        PyErr_SetString(PyExc_TypeError, "recvfrom() did not return two values");
        Py_CLEAR(pair);
    }
    if (pair == NULL) {
        return ask_failed(self);
    }
    int res = self->base.place != TRANSPORT_OPEN
                  ? 0
                  : deliver(self, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
    Py_DECREF(pair);
    return datagram_look_again(self) < 0 ? -1 : res; /* there may be more */
}

int
datagram_read_ready(struct transport *base)
{
    struct datagram *self = (struct datagram *)base;
    if (base->place != TRANSPORT_OPEN || base->paused) {
        return 0; /* resume_reading looks again */
    }
    if (UNLIKELY(!address_is_known(self->family))) {
        return read_by_asking(self);
    }
    /* Behind an older batch, a full one or an error there may be more. */
    bool more = self->batch != NULL || (self->seen & POLLERR);
    bool full = false;
    int res = self->batch != NULL ? 1 : receive(self, &full);
    if (res == 1) {
        res = deliver_batch(self);
        if ((more || full || self->batch != NULL) && datagram_look_again(self) < 0) {
            res = -1;
        }
    }
    return res;
}
