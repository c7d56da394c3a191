/* What stream and datagram transports share: the object, its place in life, its flow
 * control, what it tells of itself.
 *
 * A transport derives from asyncio.Transport or asyncio.DatagramTransport and behaves
 * as asyncio's own, attribute by attribute where programs look. It owns its descriptor;
 * the socket object around it is made when somebody asks for it, unless the program
 * brought one.
 *
 *   place     on                                  becomes
 *   OPEN      close() with data to be sent        CLOSING
 *   OPEN      close() with none                   LOST, connection_lost scheduled
 *   CLOSING   the last byte was sent              CLOSED
 *   OPEN, CLOSING   abort() or a fatal error      LOST, connection_lost scheduled
 *   LOST      connection_lost was called          CLOSED */
#ifndef SYSLET_TRANSPORT_H
#define SYSLET_TRANSPORT_H

#include "loop.h"

enum transport_place {
    TRANSPORT_OPEN,
    TRANSPORT_CLOSING,
    TRANSPORT_LOST,
    TRANSPORT_CLOSED,
};

enum { ADDRESS_BYTES = 28 }; /* sockaddr_in6; others are converted at once */

struct raw_address { /* kept as it is until somebody wants to see it */
    uint8_t size;    /* 0: there is none */
    char bytes[ADDRESS_BYTES];
};

struct transport {
    PyObject_HEAD PyObject
        *extra; /* owned dict; BaseTransport's slot; NULL: not made */
    struct source source;
    PyObject *loop;          /* owned */
    PyObject *protocol;      /* owned; NULL when CLOSED */
    PyObject *sock;          /* owned socket object; NULL: the descriptor is our own */
    PyObject *server;        /* owned; NULL: none */
    PyObject *made_context;  /* owned: connection_made runs in it; NULL afterwards */
    PyObject *read_context;  /* owned: what reading callbacks run in */
    PyObject *write_context; /* owned: what resume_writing runs in; NULL: none yet */
    PyObject *waiter;        /* owned future: told when it is made; NULL */
    PyObject *dict;          /* owned: attributes of the program's; NULL */
    PyObject *weakrefs;
    int fd; /* owned, or the socket object's; -1 when CLOSED */
    enum transport_place place;
    uint32_t lost_writes; /* writes after the connection was lost */
    bool paused;          /* pause_reading() */
    bool read_ended;      /* a stream: the peer sends no more, the protocol knows */
    bool protocol_paused; /* pause_writing() was called on the protocol */
    bool is_lent;         /* sendfile uses the descriptor */
    bool gathers;         /* what is buffered was not yet tried, see stream_gather.c */
    Py_ssize_t high, low; /* water marks in bytes */
    Py_ssize_t buffered;  /* bytes that wait to be sent */
    struct raw_address local, peer;
};

struct transport_kind {        /* what differs between streams and datagrams */
    struct source_kind source; /* first: the source gives it back */
    bool (*unsent)(const struct transport *self);  /* data waits to be sent */
    bool (*writing)(const struct transport *self); /* room is waited for */
    void (*forget)(
        struct transport *self); /* all that waits, to be sent or delivered */
    void (*forget_read)(struct transport *self); /* what waits to be delivered */
    /* Sends what was gathered; only called for a transport that gathers. -1: fatal. */
    int (*settle)(struct transport *self);
};

/* Interned names of protocol methods. */
struct transport_names {
    PyObject *buffer_updated, *connection_lost, *connection_made, *data_received;
    PyObject *datagram_received, *eof_received, *error_received, *get_buffer;
    PyObject *pause_writing, *resume_writing, *attach, *detach;
};
extern struct transport_names transport_names;
int transport_names_init(void);

/* Fills what is common; the object is complete enough to be freed whatever fails. sock:
 * NULL for a descriptor of our own. extra: NULL, or a mapping to copy. */
int transport_set_up(struct transport *self, PyObject *loop, PyObject *sock, int fd,
                     PyObject *protocol, PyObject *extra, PyObject *server);
/* peername: of an address that is known, or (size 0) by asking. -1: exception. */
int transport_set_peer(struct transport *self, const void *address, unsigned size);
static inline bool
transport_is_closing(const struct transport *self)
{
    return self->place != TRANSPORT_OPEN;
}
static inline bool
transport_is_lost(const struct transport *self)
{
    return self->place >= TRANSPORT_LOST;
}

/* What write() kept back goes out: before anything that shows whether it has. -1: fatal
 * exception. */
static inline int
transport_settle(struct transport *self)
{
    if (LIKELY(!self->gathers)) {
        return 0;
    }
    return ((const struct transport_kind *)self->source.kind)->settle(self);
}

/* call_soon(connection_lost); the watch has ended. -1: exception. */
int transport_lose(struct transport *self, PyObject *exception);
/* connection_lost, and the end of the descriptor. -1: what connection_lost raised. */
int transport_end(struct transport *self, PyObject *exception);
/* Takes the exception that is set; tells the loop's handler what asyncio would. NULL:
 * SystemExit or KeyboardInterrupt, which is set again. New reference otherwise. */
PyObject *transport_failed(struct transport *self, const char *message);

/* Flow control: pause_writing and resume_writing of the protocol. -1: fatal exception. */
int transport_maybe_pause(struct transport *self);
int transport_maybe_resume(struct transport *self);

/* Calls protocol.<name>(argument); argument may be NULL. New reference, or NULL. */
PyObject *protocol_call(struct transport *self, PyObject *name, PyObject *argument);
/* Calls function(self) in a context that is kept alive meanwhile. Its result, or -1. */
int context_run(PyObject *context, int (*function)(struct transport *),
                struct transport *self);
PyObject *transport_socket(struct transport *self); /* borrowed; NULL: exception */

/* transport_life.c: beginning, pausing, closing. -1: exception. */
/* Contexts and the future of what is new; the first event is queued. */
int transport_set_start(struct transport *self, PyObject *waiter);
/* connection_made, the watch, the waiter: what asyncio schedules as three callbacks. */
int transport_start(struct transport *self);
/* -1: an exception ends the run of the loop; these events are for its next run. */
int transport_not_handled(struct transport *self, uint32_t events);
void transport_hold(struct transport *self); /* the loop keeps it while it is needed */
int transport_want_write(struct transport *self); /* as asyncio adds a writer */
int transport_write_lost(struct transport *self); /* counted, and warned about */
int transport_close(struct transport *self);
/* abort with a reason; NULL: none. */
int transport_force_close(struct transport *self, PyObject *exception);
/* The exception that is set ends the transport. -1: it is a fatal one, set again. */
int transport_fatal(struct transport *self, const char *message);
PyObject *transport_repr(PyObject *self);
extern PyMethodDef transport_life_methods[]; /* in each type */
static inline int
transport_fd(const struct transport *self) /* -1: the program closed its socket */
{
    return socket_fd_now(self->sock, self->fd);
}

/* The parts of the types. */
int transport_traverse(struct transport *self, visitproc visit, void *arg);
int transport_clear(struct transport *self);
void transport_finalize(struct transport *self);
void transport_free(struct transport *self); /* after clear, in dealloc */
int transport_init(PyObject *self, PyObject *args, PyObject *kwargs);
/* A constructor failed: the descriptor stays the caller's. */
void transport_abandon(struct transport *self);
/* transport_info.c */
extern PyGetSetDef transport_getset[];
extern PyMemberDef transport_members[];
int transport_ask_local(struct transport *self); /* sockname; -1: exception */
PyObject *transport_get_extra_info(struct transport *self, PyObject *args,
                                   PyObject *kwargs);
int transport_type_add(PyTypeObject *type); /* common methods and attributes */

/* stream.c: a connected stream socket. waiter: NULL or a future. New reference. */
extern PyTypeObject *SocketTransport_Type;
int stream_init(PyObject *module);
PyObject *stream_new(PyObject *loop, PyObject *sock, int fd, PyObject *protocol,
                     PyObject *waiter, PyObject *extra, PyObject *server,
                     const void *peer, unsigned peer_size);
int listener_init(PyObject *module);
int datagram_init(PyObject *module); /* datagram.c: DatagramTransport */

#endif
