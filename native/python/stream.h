/* A connected stream socket as a transport: what its three files share. */
#ifndef SYSLET_STREAM_H
#define SYSLET_STREAM_H

#include "transport.h"

struct chunk {       /* data that waits to be sent */
    PyObject *bytes; /* owned */
    Py_ssize_t sent;
};

enum { IOVECS = 64 }; /* chunks in one system call */

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
    bool hangup;      /* the peer's end was seen: read until nothing is left */
    bool keeps_bytes; /* its protocol keeps what it is given: see stream_read.c */
    bool gathering;   /* its program writes several times in one callback */
    uint8_t doubles, singles;      /* callbacks in a row: see stream_gather.c */
    uint32_t wrote_in, doubled_in; /* callbacks by number; 0: none */
    int send_error; /* of the last attempt to send what was gathered; 0 */
};

/* stream_read.c */
int stream_read_ready(struct transport *self); /* -1: fatal exception */

/* stream_write.c */
int stream_write_ready(struct transport *self); /* -1: fatal exception */
void stream_forget_chunks(struct stream *self);
PyObject *stream_write(struct stream *self, PyObject *data);
PyObject *stream_writelines(struct stream *self, PyObject *list);
PyObject *stream_write_eof(struct stream *self, PyObject *none);
/* Steals bytes, which may be NULL: an exception is set. -1: exception. */
int stream_add_chunk(struct stream *self, PyObject *bytes, Py_ssize_t sent);
/* Sends of the chunks what fits: 0, or -1 and errno, which may be a temporary one. */
int stream_send_chunks(struct stream *self);
bool stream_error_is_temporary(int error);
int stream_write_failed(struct stream *self); /* by errno. -1: fatal exception */

/* stream_gather.c */
/* Whether this write waits a moment. copied: its chunk is a copy. */
bool stream_may_gather(struct stream *self, Py_ssize_t size, bool copied);
/* After a chunk was added: to be sent a little later, or now if it is enough.
 * -1: fatal exception. */
int stream_gathered(struct stream *self);
int stream_settle(struct transport *self); /* transport_kind.settle */
int stream_flush(struct source *source);   /* source_kind.flush */

#endif
