/* A datagram socket as a transport: what its four files share. */
#ifndef SYSLET_DATAGRAM_H
#define SYSLET_DATAGRAM_H

#include "transport.h"

struct letter {        /* a datagram that waits to be sent */
    PyObject *bytes;   /* owned */
    PyObject *address; /* owned; NULL: none was given */
};

struct known_address { /* an address in both forms; IPv4 and IPv6 only */
    PyObject *object;  /* owned tuple; NULL: the entry is free */
    struct raw_address raw;
};

enum { DATAGRAM_AGAIN = 1 << 29 }; /* an event of our own: there may be more to read */

enum { KNOWN_SENDERS = 64, KNOWN_TARGETS = 8 }; /* powers of two */

struct batch; /* datagrams that were received together: datagram_read.c */

struct datagram {
    struct transport base;
    PyObject *address;      /* owned: the remote address of its creation; NULL: none */
    struct batch *batch;    /* owned: some of it is not delivered yet; NULL */
    struct letter *letters; /* owned: a ring of letters_mask + 1 */
    uint32_t letters_head, letters_count, letters_mask;
    uint32_t seen;  /* the events that are being handled */
    int family;     /* of the socket */
    bool packets;   /* IP datagrams, whose size is limited */
    bool connected; /* the socket knows where it sends */
    bool writing;   /* room is waited for, as by asyncio's writer */
    struct known_address senders[KNOWN_SENDERS]; /* by a hash of the address */
    struct known_address targets[KNOWN_TARGETS]; /* by a hash of the pointer */
    struct known_address *latest; /* in senders: the last that was delivered; NULL */
};

/* datagram_address.c: new reference, or NULL. */
PyObject *datagram_sender(struct datagram *self, const struct sockaddr_storage *address,
                          unsigned size);
/* 1: *address is the object's, perhaps in *storage; 0: ask the socket object. */
int datagram_target(struct datagram *self, PyObject *object,
                    struct sockaddr_storage *storage, const void **address,
                    unsigned *size);
void datagram_forget_addresses(struct datagram *self);

/* datagram_read.c */
int datagram_read_ready(struct transport *self); /* -1: exception */
int datagram_look_again(struct datagram *self);  /* read in this or the next tick */
void datagram_forget_batch(struct datagram *self);

/* datagram_write.c */
int datagram_write_ready(struct transport *self); /* -1: exception */
void datagram_forget_letters(struct datagram *self);
PyObject *datagram_sendto(struct datagram *self, PyObject *const *args,
                          Py_ssize_t count, PyObject *keywords);
/* error_received with the exception that is set, an OSError. -1: what it raised. */
int datagram_tell_error(struct datagram *self);

#endif
