/* A connected stream socket as a transport: what its three files share. */
#ifndef SYSLET_STREAM_H
#define SYSLET_STREAM_H

#include "transport.h"

struct chunk {       /* data that waits to be sent */
    PyObject *bytes; /* owned */
    Py_ssize_t sent;
};

/* What incoming data becomes. */
enum stream_reader {
    READER_BYTES,    /* data_received(bytes) */
    READER_BUFFERED, /* get_buffer, buffer_updated */
    READER_STREAM,   /* straight into the buffer of an asyncio.StreamReader */
};

/* A poll reports edges, so a reader has to know whether anything is left. */
enum stream_trust {
    TRUST_NONE,  /* only EAGAIN says that nothing is */
    TRUST_PLAIN, /* Unix: a short receive, unless it stopped at a control message */
    TRUST_SHORT, /* TCP: a short receive; urgent data is polled for */
};

struct stream {
    struct transport base;
    PyObject *feeder;       /* owned: of reader_adopt (READER_STREAM); NULL */
    PyObject *empty_waiter; /* owned future: told when all is sent; NULL */
    struct chunk *chunks;   /* owned: a ring of chunks_mask + 1 */
    uint32_t chunks_head, chunks_count, chunks_mask;
    enum stream_reader reader;
    enum stream_trust trust;
    bool eof;         /* write_eof() was called */
    bool hangup;      /* the poll saw the peer's end: read until it comes */
    bool keeps_bytes; /* its protocol keeps what it is given: see stream_read.c */
};

/* stream_read.c */
int stream_read_ready(struct transport *self); /* -1: fatal exception */

/* stream_write.c */
int stream_write_ready(struct transport *self); /* -1: fatal exception */
void stream_forget_chunks(struct stream *self);
PyObject *stream_write(struct stream *self, PyObject *data);
PyObject *stream_writelines(struct stream *self, PyObject *list);
PyObject *stream_write_eof(struct stream *self, PyObject *none);

#endif
