/* The loop's socket methods: sock_recv and its sisters, which work on sockets that the
 * program owns.
 *
 * sock.c has the objects that the methods return: coroutines to asyncio, made of the
 * machine in awaitable.c. sock_call.c has the attempts: what one call does each time it
 * goes on. address.c knows how socket objects look inside. loop.c puts SOCK_METHODS
 * into the loop's table. */
#ifndef SYSLET_SOCK_H
#define SYSLET_SOCK_H

#include "loop.h"

/* --- socket objects (address.c) ------------------------------------------------ */

struct socket_facts { /* in the order in which socket objects have them */
    int fd;           /* borrowed; -1: closed */
    int family;
    int type;
    int proto;
};

/* False: not exactly a socket.socket, so that its methods may do anything. */
bool socket_read_facts(PyObject *sock, struct socket_facts *facts);
/* A new non-blocking socket.socket, which owns facts->fd unless NULL is returned. */
PyObject *socket_from_accepted(const struct socket_facts *facts);

/* --- one call ------------------------------------------------------------------ */

struct sock_call;

/* How a call does its work; the choice is made at its first step. */
enum sock_way {
    WAY_OPEN,   /* not begun */
    WAY_NATIVE, /* system calls of ours on the socket's descriptor */
    WAY_ASK,    /* the socket object's own method: some other type, or an argument
                   that only it can judge */
};

struct sock_kind {
    struct awaitable_kind awaitable;  /* first: the machine's view of it */
    const char *name;                 /* of the method of the loop */
    const char *const *parameters;    /* `required` names, then the optional one */
    uint32_t required, most;          /* arguments */
    const struct source_kind *source; /* what it waits for */
    /* Whether the arguments are of the plain kind; keeps what native() needs. */
    bool (*prepare)(struct sock_call *self, const struct socket_facts *facts);
    enum outcome (*native)(struct sock_call *self, const struct socket_facts *facts,
                           PyObject **result);
    enum outcome (*ask)(struct sock_call *self, PyObject **result);
};

enum { SOCK_ARGS = 3 };

struct sock_call {
    struct awaitable base;     /* first; its kind is the start of a sock_kind */
    enum sock_way way;         /* how */
    PyObject *loop;            /* owned; NULL: over */
    PyObject *args[SOCK_ARGS]; /* owned: the socket and what follows; NULL: over */
    Py_buffer view;            /* owned while view.obj is set: the caller's memory */
    Py_ssize_t size;           /* bytes asked for */
    Py_ssize_t done;           /* bytes sent so far */
    struct source source;      /* listed while it waits */
};

static inline const struct sock_kind *
sock_kind_of(const struct sock_call *self)
{
    return (const struct sock_kind *)self->base.kind;
}

/* The rows of sock_call.c, without their `awaitable` and `source`. */
enum sock_method {
    SOCK_RECV,
    SOCK_RECV_INTO,
    SOCK_RECVFROM,
    SOCK_RECVFROM_INTO,
    SOCK_SENDALL,
    SOCK_SENDTO,
    SOCK_ACCEPT,
    SOCK_METHODS_COUNT,
};

extern struct sock_kind sock_kinds[SOCK_METHODS_COUNT];
int sock_calls_init(void);

/* --- the methods of the loop (sock.c) -------------------------------------------- */

#define SOCK_METHOD(name)                                                              \
    PyObject *loop_##name(PyObject *loop, PyObject *const *args, Py_ssize_t count,     \
                          PyObject *keywords)
SOCK_METHOD(sock_recv);
SOCK_METHOD(sock_recv_into);
SOCK_METHOD(sock_recvfrom);
SOCK_METHOD(sock_recvfrom_into);
SOCK_METHOD(sock_sendall);
SOCK_METHOD(sock_sendto);
SOCK_METHOD(sock_accept);

/* For the table of methods. */
#define SOCK_ROW(name, text)                                                           \
    {#name, (PyCFunction)(void (*)(void))loop_##name, METH_FASTCALL | METH_KEYWORDS,   \
     text},
#define SOCK_METHODS                                                                   \
    SOCK_ROW(sock_recv, "sock_recv(sock, n)\n--\n\nAt most n bytes, as bytes.")        \
    SOCK_ROW(sock_recv_into,                                                           \
             "sock_recv_into(sock, buf)\n--\n\nThe number of bytes written to buf.")   \
    SOCK_ROW(sock_recvfrom,                                                            \
             "sock_recvfrom(sock, bufsize)\n--\n\nA datagram, and where it is from.")  \
    SOCK_ROW(sock_recvfrom_into,                                                       \
             "sock_recvfrom_into(sock, buf, nbytes=0)\n--\n\nThe number of bytes "     \
             "written to buf, and where they are from.")                               \
    SOCK_ROW(sock_sendall,                                                             \
             "sock_sendall(sock, data)\n--\n\nSend all of it; gives None.")            \
    SOCK_ROW(sock_sendto,                                                              \
             "sock_sendto(sock, data, address)\n--\n\nThe number of bytes sent.")      \
    SOCK_ROW(sock_accept,                                                              \
             "sock_accept(sock)\n--\n\nA new non-blocking socket, and its peer.")

#endif
