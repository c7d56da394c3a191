/* A flight: one execution of a plan, and the only code that changes its state.
 *
 *   state        on           becomes
 *   PREPARED     launch       FLYING
 *   FLYING       its end      LANDED
 *   FLYING       cancel       CANCELLING     somebody waits for the landing
 *   FLYING       abandon      ORPHANED       nobody does
 *   CANCELLING   abandon      ORPHANED
 *   CANCELLING,
 *   ORPHANED     final completion of what it had lent      LANDED
 *
 * No other transition exists. Beside its state a flight has a place: where it is now,
 * and thereby who may touch it. A flight at PLACE_WORKER belongs to that worker until
 * the worker hands it back through the inbox; everywhere else to the engine's thread.
 * Hosts see engine.h only. */
#ifndef SYSLET_FLIGHT_H
#define SYSLET_FLIGHT_H

#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine.h"
#include "plan.h"

enum flight_state { PREPARED, FLYING, CANCELLING, ORPHANED, LANDED };

enum flight_place {
    PLACE_HERE,   /* prepared, being run by the engine's thread, or landed */
    PLACE_READY,  /* in the ready queue */
    PLACE_RING,   /* one request of it is in the ring, or it waits for readiness */
    PLACE_WORKER, /* in the workers' queue, on a worker, or in the inbox */
    PLACE_PAUSED, /* the host's report queue is full */
};

enum fd_flags {
    FD_UNPROVEN = 1, /* opened with O_NONBLOCK nobody asked for; may be a FIFO */
    FD_NONBLOCK = 2, /* that O_NONBLOCK is still set */
    FD_POSITION = 4, /* `position` is the file position: only this flight moved it */
};

struct fd_slot { /* an fd the flight owns */
    int fd;
    uint16_t flags;
    uint64_t position;
};

struct heap_block {          /* a buffer too large for the flight, freed with it */
    struct heap_block *next; /* owned */
    uint64_t size;
    _Alignas(16) char memory[];
};

struct flight {
    struct flight *link;     /* free list, ready queue, job queue or inbox */
    struct flight *previous; /* list of flights in the air */
    struct flight *following;
    struct engine *engine; /* borrowed: outlives its flights */
    struct plan *plan;     /* owned reference */
    void *host;            /* borrowed from the host */
    uint64_t *cells;       /* borrowed: behind this struct */
    uint64_t *ran;         /* borrowed: one bit per atom, behind the cells */
    char *scratch;         /* borrowed: behind the bits */
    struct handed *handed; /* borrowed: behind the scratch; NULL: not for the kernel */
    struct heap_block *heap; /* owned */

    enum flight_state state;
    enum flight_place place;
    enum flight_path path;
    uint8_t size_class;
    uint16_t at;        /* atom to run, or the one that is away */
    bool has_result;    /* `result` is that of atom `at`, not yet settled */
    bool skip_attempt;  /* ASYNC, or an attempt just missed: go straight away */
    bool awaits_fd;     /* the request in the ring is a readiness wait, not the atom */
    bool goes_home;     /* the worker met an atom that it must not run */
    bool reopens;       /* the worker job is to open a FIFO again, blocking */
    bool ended_itself;  /* once landed: by its program, not by a cancellation */
    bool retries;       /* readiness came: attempt again, even if ASYNC */
    bool pauses;        /* the host's report queue is full */
    bool limited;       /* the readiness wait has a time limit, in `times` */
    bool ring_refused;  /* the ring could not do this atom: a worker does */
    bool starved;       /* no room in the ring */
    bool settles;       /* waits for another fd of its own, not for this atom */
    bool lacks_peer;    /* an attempt found nobody at the other end of a FIFO */
    bool may_stay;      /* the worker job may wait for a peer without bound */
    bool ends;          /* its last atom is settled */
    bool cancel_due;    /* the ring had no room for its cancellation */
    bool stays_home;    /* the kernel did not execute this atom: the engine does */
    bool commanded;     /* the request in the ring is its program */
    uint32_t cancelled; /* atomic: the worker must stop before its next atom */
    bool on_worker;     /* a worker runs it: under the workers' lock */
    pthread_t worker;   /* which; valid while on_worker */

    int64_t result;     /* of the last atom */
    uint32_t last;      /* index of the last atom that ran; UINT32_MAX: none */
    uint32_t atoms;     /* run so far */
    uint64_t done;      /* bytes of the current transfer so far */
    uint64_t end;       /* where a file ended when the last atom read it at a place */
    uint32_t end_atoms; /* atoms that had run before that one */
    int end_fd;         /* that file; -1: not known */
    bool end_unsure; /* it has no reads that are promised not to wait: no plain file */
    uint16_t opened; /* fd_flags for the fd the current attempt opened */
    int wait_fd;     /* readiness wait: on which fd */
    short wait_mask;
    int own_fd; /* epoll backend: owned; the timerfd of a sleep, a duplicate; -1 */

    uint32_t slot;        /* in the engine's table while in the ring, else SLOT_NONE */
    struct iovec *vector; /* owned: rest of a vectored transfer */
    uint32_t fds_count;
    uint64_t made; /* bit per computed buffer that has been made once */

    /* Up to here zeroed by flight_prepare, below only written before it is read. */
    struct fd_slot fds[FDS_OWNED_MAX];

    /* Lent to the kernel until the final completion of the ring request. */
    struct iovec iov;
    struct msghdr message;
    int64_t times[4];

    /* For a trace; set when it flies with one. */
    uint64_t flew_ns, began_ns; /* the flight, its atom */
    uint32_t number;
    enum flight_path went; /* the way of the current atom */
};

#define SLOT_NONE UINT32_MAX

/* Takes ownership of an open fd. -EMFILE: the limit; the fd is then closed. */
int flight_fd_own(struct flight *flight, int fd, uint16_t flags, uint64_t position);
struct fd_slot *flight_fd_find(struct flight *flight, int fd); /* NULL: not its own */
void flight_fd_forget(struct flight *flight, int fd);          /* closed by an atom */

/* A new buffer of a size known only now; freed with the flight. NULL: no memory. */
char *flight_heap(struct flight *flight, uint64_t size);
uint64_t flight_heap_size(const struct flight *flight, const char *memory); /* or 0 */
/* Frees one of them, if it is one; nothing may be lent from it. */
void flight_heap_drop(struct flight *flight, const char *memory);

void flight_fly(struct flight *flight);             /* PREPARED → FLYING */
void flight_land(struct flight *flight);            /* any flying state → LANDED */
bool flight_is_ending(const struct flight *flight); /* CANCELLING or ORPHANED */

static inline const struct step *
flight_step(const struct flight *flight)
{
    return &flight->plan->steps[flight->at];
}

/* The index of the atom whose turn it is. A flight that has come to its end may still
 * have to wait, for the writer of a FIFO that it hands out: its last one, then. */
static inline uint32_t
flight_current(const struct flight *flight)
{
    return flight->ends ? flight->last : flight->at;
}

/* Copies user memory whose address nobody vouched for. 0 or -EFAULT. */
int memory_read(struct flight *flight, void *to, uint64_t from, size_t size);
int memory_write(struct flight *flight, uint64_t to, const void *from, size_t size);

#endif
