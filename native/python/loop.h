/* What the files of the native loop share: handles, the core of a loop, and sources.
 *
 * The loop is a Python type that derives from asyncio's selector loop; what runs per
 * callback or per packet is here. Its state is a Core object that the loop owns: the
 * ready queue, the timers, the readers, the engine, and the list of sources. A source
 * is anything with a watched descriptor: a transport, a listener, a waiting socket
 * call. All of it runs on the loop's thread with the interpreter's lock held; only
 * call_soon_threadsafe comes from elsewhere, with the lock as well.
 *
 * Order of a tick (tick.c): wait and collect → timers that are due → run what is ready
 * now. Nothing runs from inside the collecting. */
#ifndef SYSLET_LOOP_H
#define SYSLET_LOOP_H

#include "module.h"

struct core;

/* --- handles (handle.c) -------------------------------------------------------- */

/* The slots of asyncio.Handle, checked at import; the weak reference list comes after
 * them on 3.11 and before the object from 3.12 on. */
struct handle {
    PyObject_HEAD PyObject *args; /* owned, all of them; NULL: not set */
    PyObject *callback;
    PyObject *cancelled;
    PyObject *context;
    PyObject *loop;
    PyObject *repr;
    PyObject *source_traceback;
#if PY_VERSION_HEX < 0x030c0000
    PyObject *weakrefs;
#endif
};

enum { TIMER_NOT_SCHEDULED = -1 };

struct timer { /* asyncio.TimerHandle's slots, and ours */
    struct handle base;
    PyObject *scheduled;
    PyObject *when;
    double deadline;  /* seconds, of the loop's clock */
    Py_ssize_t index; /* in the heap; TIMER_NOT_SCHEDULED */
};

struct timer_place { /* in the heap, with what it is sorted by */
    double deadline;
    uint64_t order;      /* first come, first served */
    struct timer *timer; /* an owned reference */
};

extern PyTypeObject *Handle_Type; /* owned for ever: made at import */
extern PyTypeObject *TimerHandle_Type;

int handles_init(PyObject *module);
/* New handles. context: NULL means a copy of the current one. args: borrowed array. */
struct handle *handle_new(PyObject *loop, PyObject *callback, PyObject *const *args,
                          Py_ssize_t count, PyObject *context);
struct timer *timer_new(PyObject *loop, PyObject *callback, PyObject *const *args,
                        Py_ssize_t count, PyObject *context);
int handle_note_stack(struct handle *handle); /* debug mode: where it was made */
/* 0; -1: SystemExit or KeyboardInterrupt is set. Other exceptions are reported. */
int handle_run(struct handle *handle);
static inline bool
handle_is_cancelled(const struct handle *handle)
{
    return handle->cancelled == Py_True;
}

/* --- sources (source.c) --------------------------------------------------------- */

struct source;

struct source_kind {
    const char *name;
    enum watch_kind watch;
    /* Handles what was seen (a mask of POLLIN and so on), or goes on by itself. -1:
     * SystemExit or KeyboardInterrupt is set. The object is alive meanwhile. */
    int (*ready)(struct source *source, uint32_t events);
    /* The loop is being closed: nothing will be seen any more. */
    void (*lost)(struct source *source);
    /* Does what it gathered. -1: as ready(). NULL: never called. */
    int (*flush)(struct source *source);
};

struct source {
    struct watch watch;             /* first: the engine gives it back */
    const struct source_kind *kind; /* borrowed: constant */
    PyObject *object;               /* borrowed: the object that it is a part of */
    struct core *core;              /* borrowed from the object's loop */
    struct source *previous;        /* the core's list */
    struct source *following;
    struct source *next_gathered;
    int fd;          /* borrowed from the object */
    uint32_t events; /* seen, not yet handled */
    bool begun;      /* some engine has watched it */
    bool listed;     /* in the core's list */
    bool held;       /* the list owns a reference to object */
    bool queued;     /* in the ready queue, which owns a reference */
    bool gathered;   /* in the core's list of gathered ones, which owns a reference */
    uint32_t doubt;  /* place in the core's doubts, from 1 on; 0: none */
};

/* Beside POLLIN and so on: no poll saw anything, but there may be something to read. */
enum { SOURCE_AGAIN = 1 << 30 };

void source_init(struct source *source, const struct source_kind *kind,
                 PyObject *object);
/* From now on it is watched, and the core keeps the object alive. -1: MemoryError. */
int source_open(struct source *source, struct core *core, int fd);
/* Whether the core keeps the object of an open source alive; it does at first. An object
 * that nobody holds ends its source when it is freed. */
void source_hold(struct source *source, bool held);
void source_want_write(struct source *source); /* report when there is room */
/* Ends the watch; may free the object unless the caller holds a reference. */
void source_close(struct source *source);
/* Before the file is closed: no poll of ours may hold it any more. */
void source_flush(struct core *core);
/* Has flush() called when the callback that is being run ends, or the tick if the loop
 * is busy sending. */
void source_gather(struct source *source);
/* What was gathered, in order. An exception that is set stays so. -1: SystemExit or
 * KeyboardInterrupt is set. */
int sources_settle(struct core *core);
/* Has ready() called in this or the next tick with these events. -1: MemoryError. */
int source_queue(struct source *source, uint32_t events);
/* doubts.c: something may be left to read that no poll will tell of: ready() is called
 * with SOURCE_AGAIN a little later. -1: there is no memory. */
int source_doubt(struct source *source);
void source_trust(struct source *source); /* not any more */
/* Queues them if it is time; 0: it did. Otherwise nanoseconds until it is time. */
int64_t doubts_settle(struct core *core);
/* host->watched. */
void source_watched(void *context, struct watch *watch, uint32_t mask);
/* The core has a new engine: watches begin again. -1: MemoryError. */
int sources_begin(struct core *core);
void sources_lose_all(struct core *core); /* the loop is closed */

/* --- the core (core.c) ----------------------------------------------------------- */

/* The ready queue holds handles (of ours or asyncio's) and sources: a pointer to a
 * source has its lowest bit set. Each entry owns a reference. */
typedef uintptr_t entry_t;

enum { ENTRY_SOURCE = 1 };

struct reader {      /* what add_reader and add_writer registered for one fd */
    PyObject *read;  /* owned handle; NULL: none */
    PyObject *write; /* owned handle; NULL: none */
    PyObject *file;  /* owned: what was passed, if that was no number; NULL */
};

struct core {
    PyObject_HEAD PyObject *loop; /* borrowed: the loop owns the core */
    struct engine_object *engine; /* owned; NULL: not needed so far */
    PyObject *task_factory;       /* owned: of set_task_factory; NULL: none */

    entry_t *ready; /* owned: a ring of ready_mask + 1 entries */
    uint32_t ready_head, ready_count, ready_mask;
    uint32_t parents_head, parents_count, parents_mask;
    entry_t *parents; /* owned: in a forked child, what the parent had in `ready` */

    struct timer_place *timers; /* owned: a heap by deadline */
    Py_ssize_t timers_count, timers_room;
    uint64_t timers_next;

    struct source *sources; /* list head: all that are open */
    struct source *gathered_first, *gathered_last;
    uint32_t gathered_count;
    uint32_t writes;        /* of this tick, by callbacks that are not a source's */
    struct source **doubts; /* owned, each borrowed: it leaves before it is closed */
    uint32_t doubts_count, doubts_room;
    int64_t doubts_due_ns; /* of CLOCK_MONOTONIC, while there are any */

    int readers_fd;         /* owned: epoll set of add_reader; -1: none yet */
    struct reader *readers; /* owned: by fd */
    uint32_t readers_room, readers_count;

    struct source **holders; /* owned: by fd, the transport that has it; NULL */
    uint32_t holders_room;

    PyObject *buffer; /* owned bytes: what transports receive into; NULL */
    PyObject *small;  /* owned bytes: for small messages; see stream_read.c */

    uint32_t ticks;   /* counted where it matters, see tick.c */
    uint32_t entries; /* the number of the one that is being run, or was last */
    bool closed, debug, stopping;
    bool time_replaced; /* loop.time was set or overridden: Python is asked */
    bool asleep;        /* the loop's thread waits: others must wake it */
    bool running;       /* inside core_run */
    bool in_entry;      /* inside a callback that core_run calls */
    bool in_source;     /* which is a source's */
    bool busy;          /* several writes in one of the last ticks */
    uint8_t busy_ticks; /* ticks until it is not */
    bool forked;        /* in a child: what it has is the parent's too */

    struct core *previous_core; /* the list of all, which fork goes through */
    struct core *following_core;
};

extern PyTypeObject Core_Type;

struct core *core_new(void);              /* its loop is set by who makes it */
PyObject *core_engine(struct core *core); /* borrowed; made if needed; NULL */
/* Steals a reference to handle; -1: MemoryError, and the reference is gone. */
int core_push(struct core *core, PyObject *handle);
int core_push_source(struct core *core, struct source *source);
/* -1 and RuntimeError in a forked child, unless the loop had touched nothing before the
 * fork. Whoever would wait, or change what the parent waits for, asks. */
int core_check_process(const struct core *core);
void core_wake(struct core *core);   /* after a push from another thread */
double core_time(struct core *core); /* -1.0 and an exception: loop.time failed */

/* The descriptors of transports, for add_reader's check: the object of such a source is
 * a struct transport. -1: MemoryError. */
int core_hold_fd(struct core *core, int fd, struct source *source);
void core_drop_fd(struct core *core, int fd, const struct source *source);

/* --- timers (timers.c) ------------------------------------------------------------ */

int timers_push(struct core *core, struct timer *timer); /* a new reference; -1 */
bool timers_have(const struct core *core, const struct timer *timer);
void timers_remove(struct core *core, struct timer *timer); /* gives it up */
/* Moves what is due into the ready queue; -1: MemoryError. */
int timers_due(struct core *core);
void timers_clear(struct core *core);

/* --- readers (readers.c) ----------------------------------------------------------- */

PyObject *readers_add(struct core *core, PyObject *const *args, Py_ssize_t count,
                      bool write); /* a new reference to the handle */
PyObject *readers_remove(struct core *core, PyObject *file, bool write);
PyObject *readers_of(struct core *core, PyObject *file); /* (read, write) handles */
int readers_collect(struct core *core); /* what is ready into the queue; -1 */
void readers_clear(struct core *core);
int file_number(PyObject *file); /* as selectors does it; -1: exception */

/* --- scheduling (schedule.c): methods of the type Loop ------------------------------- */

int schedule_init(void);
PyObject *loop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *names);
PyObject *loop_call_soon_threadsafe(PyObject *self, PyObject *const *args,
                                    Py_ssize_t count, PyObject *names);
PyObject *loop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t count,
                       PyObject *names);
PyObject *loop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names);
PyObject *loop_time(PyObject *self, PyObject *none);

/* --- tasks (task.c) --------------------------------------------------------------- */

int task_init(void); /* -1: exception */
PyObject *loop_create_task(PyObject *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *names);

/* --- the loop (loop.c, tick.c) ------------------------------------------------------ */

extern PyTypeObject *Loop_Type; /* made at import */
extern Py_ssize_t loop_core_offset;

int loop_init(PyObject *module);
static inline struct core *
loop_core(PyObject *loop) /* borrowed */
{
    return *(struct core **)((char *)loop + loop_core_offset);
}
/* The core of a loop that is one of ours; NULL: TypeError. */
struct core *loop_core_checked(PyObject *loop);
PyObject *loop_create_future(PyObject *loop);     /* new */
PyObject *core_run(struct core *core, bool once); /* None; NULL: exception */

/* --- transports ----------------------------------------------------------------------- */

int address_init(PyObject *module);
int transports_init(PyObject *module); /* the types of stream.c and listener.c */
int sock_init(PyObject *module);       /* sock.c */

/* --- executors (bridge.c) ------------------------------------------------------------- */

int bridge_init(PyObject *module);
PyObject *loop_wrap(PyObject *loop, PyObject *source); /* a method of the type Loop */

/* address.c: socket addresses, as the socket module shows them. */
struct sockaddr_storage;
PyObject *address_to_object(const struct sockaddr_storage *address, unsigned length);
/* Whether these functions know the family; the socket object knows them all. */
bool address_is_known(int family);
/* 1: done; 0: not a form that is known here, ask the socket object; -1: exception. */
int address_from_object(int family, PyObject *object, struct sockaddr_storage *address,
                        unsigned *length);

/* `fd` if that is still the descriptor of the socket object (NULL: it has none); -1 if
 * the program has closed it, and the number may be somebody else's by now. */
int socket_fd_now(PyObject *sock, int fd);
/* The descriptor of a socket.socket; -1 and ValueError or TypeError otherwise. */
int socket_number(PyObject *sock);

/* Calls syslet_loop.reports.<name>(arguments…): everything that is said about errors
 * is said in Python. -1: SystemExit or KeyboardInterrupt, or what the report raised. */
PyObject *reports(void); /* the module, borrowed */
int report(const char *name, PyObject *const *args, Py_ssize_t count);
/* The exception that is set is one that ends the loop's run. */
bool exception_is_fatal(void);

#endif
