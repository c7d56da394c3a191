/* What the files of the binding share: the structures behind the Python types, and the
 * few functions each file offers to the others.
 *
 * This room turns Python calls into flights and landings into Python objects. It sees
 * the engine through engine.h only, never a request of the ring. Everything here runs
 * with the interpreter's lock held, on the engine's thread unless said otherwise. */
#ifndef SYSLET_MODULE_H
#define SYSLET_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "../engine/engine.h"
#include "../engine/limits.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

struct engine_object;
struct syslet_object;

/* --- plans (plan.c) ----------------------------------------------------------- */

enum param_kind {
    PARAM_INT,
    PARAM_FD,
    PARAM_PATH,
    PARAM_READABLE,
    PARAM_WRITABLE,
    PARAM_TIMEOUT,
    PARAM_OBJECT,
};

struct param {
    enum param_kind kind;
    uint32_t cell;      /* takes the value; 0: nobody reads it */
    uint32_t second;    /* takes the length, or the nanoseconds; 0: nobody reads it */
    uint64_t least;     /* bytes of memory */
    PyObject *name;     /* owned, interned */
    PyObject *convert;  /* owned; NULL: the argument is used as it is */
    PyObject *fallback; /* owned; NULL: the argument is required */
};

enum node_kind {
    NODE_NONE,
    NODE_INT,
    NODE_FD,
    NODE_BYTES,
    NODE_PARAM,
    NODE_CONST,
    NODE_TUPLE,
    NODE_LIST,
    NODE_DICT,
    NODE_CALL,
};

struct node { /* one node of a result template */
    enum node_kind kind;
    uint32_t first;        /* cell of the value or address, or number of a parameter */
    uint32_t second;       /* cell of the length */
    uint32_t bound_cell;   /* cell with the size of the memory; 0: it is `bound` */
    uint64_t bound;        /* bytes behind the address */
    uint32_t count;        /* children */
    uint32_t fds;          /* fds in this tree */
    PyObject *object;      /* owned: constant, callable, or tuple of keys */
    struct node *children; /* owned */
};

struct plan_object {
    PyObject_HEAD struct plan *plan; /* owned reference */
    PyObject *info;                  /* owned */
    struct param *params;            /* owned */
    uint32_t params_count;
    uint32_t required; /* leading parameters without a default */
    uint32_t views;    /* parameters that are memory */
    struct node result;
    struct node *emits; /* owned */
    uint32_t emits_count;
};

extern PyTypeObject Plan_Type;

/* --- runs: a flight's Python half (run.c, bind.c) ------------------------------ */

enum run_place {
    RUN_NEW,    /* arguments, no flight */
    RUN_AWAY,   /* its flight is in the air */
    RUN_LANDED, /* its flight has landed and is not yet released */
    RUN_LOST,   /* the engine was closed under it */
};

enum { ARGS_FEW = 8, VIEWS_FEW = 2 };

/* One execution seen from Python: the arguments and everything lent with them. It
 * outlives its owner: what a flight borrows stays here until the flight has landed. */
struct run {
    struct run *previous;  /* its engine's list, while it has a flight */
    struct run *following; /* the same; else the free list or the list of the dead */
    struct syslet_object *syslet;    /* owned */
    struct engine_object *engine;    /* owned while there is a flight, else NULL */
    struct flight *flight;           /* owned */
    PyObject *owner;                 /* borrowed: who is told; NULL: an orphan */
    void (*landed)(struct run *run); /* tells the owner */
    bool (*emitted)(struct run *run, uint64_t report); /* NULL: nobody listens */
    enum run_place place;
    bool stray; /* left by another thread: the engine's next turn sees to it */
    uint32_t args_count;
    uint32_t views_count;
    uint32_t kept_count;
    uint32_t position; /* the map's: place among its flights */
    uint64_t sequence; /* the map's: number of the item */
    PyObject *item;    /* owned: the map's item */
    PyObject **args;   /* owned references: as passed, lent until landing */
    PyObject **kept;   /* owned references: what they became, at most two each */
    Py_buffer *views;  /* owned, lent until landing */
    uint64_t *values;  /* two per parameter, for its cells */
    void *many;        /* owned: the arrays above when there are many; else NULL */
    PyObject *few_args[ARGS_FEW];
    PyObject *few_kept[2 * ARGS_FEW];
    uint64_t few_values[2 * ARGS_FEW];
    Py_buffer few_views[VIEWS_FEW];
};

size_t runs_count(void); /* that are not freed, of all engines */
struct run *run_new(struct syslet_object *syslet);
void run_free(struct run *run); /* may run any Python code; has no flight */
/* From a call's arguments. -1: an exception is set. */
int run_arguments(struct run *run, PyObject *const *args, Py_ssize_t count,
                  PyObject *names);
int run_bind(struct run *run); /* arguments → values and leases */
/* Binds and launches on this thread's engine, which must be `engine` unless that is
 * NULL. Afterwards the run has left RUN_NEW. -1: an exception is set. */
int run_launch(struct run *run, const struct engine_object *engine);
/* The result of a run that has landed or was lost. NULL: an exception is set. The owner
 * then leaves the run, which gives the leases back. */
PyObject *run_collect(struct run *run);
/* The owner has no more use for it, wherever it is; any thread. */
void run_leave(struct run *run);
int run_traverse(struct run *run, visitproc visit, void *arg);

/* For the engine object: what its engine reports, and what a turn or close finds. */
void run_report_landed(void *context, struct flight *flight);
bool run_report_emitted(void *context, struct flight *flight, uint64_t report);
void runs_see_to_strays(struct engine_object *engine);
void runs_free_dead(struct engine_object *engine);
void runs_lose_all(struct engine_object *engine); /* gives up flights that landed */

/* --- results (result.c) -------------------------------------------------------- */

struct fd_list { /* fds of a template, still the flight's */
    uint32_t count;
    int fds[FDS_OWNED_MAX];
};

/* The object of a template. The fds are noted, and are the flight's until fds_take. */
int plan_read_templates(struct plan_object *plan, PyObject *result, PyObject *emits,
                        const struct program *program);
/* What templates read of a flight's memory; shows NULL: how many there are. */
uint32_t plan_list_shows(const struct plan_object *plan, struct program_show *shows);
void node_clear(struct node *node);
int node_traverse(const struct node *node, visitproc visit, void *arg);
PyObject *node_build(const struct node *node, const struct run *run,
                     struct fd_list *fds);
void fds_take(const struct run *run, struct fd_list *fds); /* keeps those taken */
PyObject *run_failure(const struct run *run); /* sets the exception; NULL */

/* --- syslets (syslet.c) --------------------------------------------------------- */

struct syslet_object {
    PyObject_HEAD vectorcallfunc vectorcall;
    struct plan_object *plan;                 /* owned */
    PyObject *name, *doc, *module, *qualname; /* owned */
    PyObject *weakrefs;
};

extern PyTypeObject Syslet_Type;

/* --- waiting (awaitable.c, waiter.c) ------------------------------------------------------ */

/* The future that an owner's task waits for. It is not visited by the collector: while
 * a flight is in the air, whoever waits for it is alive. */
struct awaitable;

struct waiter {
    PyObject *future;         /* owned; NULL: nobody waits */
    struct awaitable *holder; /* borrowed: who waits, or did last */
};

/* closing: the loop may be closed already, and nobody is left to be woken. */
void waiter_wake(struct waiter *waiter, bool closing);
/* Somebody else waits already: an exception is set. */
bool waiter_is_taken(const struct waiter *waiter);
void waiter_drop(struct waiter *waiter, const struct awaitable *holder);

/* AGAIN: nothing to wait for, but the turn is over; the next step goes on. */
enum outcome { OUTCOME_ERROR, OUTCOME_VALUE, OUTCOME_WAIT, OUTCOME_AGAIN };

struct awaitable_kind { /* what differs between a flight and a step of an iterator */
    const char *noun;   /* what complaints call it */
    /* Who is named when it was never awaited; borrowed. NULL: nobody minds. */
    PyObject *(*name)(struct awaitable *self);
    /* Goes on as far as it can. VALUE: *result is new. */
    enum outcome (*advance)(struct awaitable *self, PyObject **result);
    /* The task will not come back for the result. Idempotent. */
    void (*leave)(struct awaitable *self);
    struct waiter *(*waiter)(struct awaitable *self);
    PyObject *(*future)(struct awaitable *self); /* new: to wait for; NULL: exception */
};

enum awaitable_state { AWAIT_NEW, AWAIT_RUNNING, AWAIT_WAITING, AWAIT_DONE };

struct awaitable {
    PyObject_HEAD const struct awaitable_kind *kind; /* borrowed: constant */
    enum awaitable_state state;
    struct run *run;      /* owned; a flight's, else NULL */
    PyObject *source;     /* owned: a step's iterator; a flight's syslet */
    PyObject *iterator;   /* owned: of the future being waited for */
    struct waiter waiter; /* a flight's own */
    const void *task;     /* whose wait it is: only compared; NULL: no task's */
    bool is_finalized;    /* and would not be again: not for the free list */
    bool is_wrapped;      /* a coroutine has it, which warns if it is never awaited */
    bool is_asked;        /* for its iterator, since it waits */
};

extern PyTypeObject Flight_Type;
extern PyTypeObject Step_Type;

PyObject *flight_new(struct run *run); /* steals run */
PyObject *step_new(PyObject *source, const struct awaitable_kind *kind);
/* The machine, for other types that begin with a struct awaitable: sock.c's. */
void awaitable_begin(struct awaitable *self, const struct awaitable_kind *kind);
int awaitable_clear(struct awaitable *self);
void awaitable_finalize(struct awaitable *self);
PyObject *awaitable_iternext(struct awaitable *self);
extern PyMethodDef awaitable_methods[];
extern PyAsyncMethods awaitable_async;

/* The exception that throw(type[, value[, traceback]]) means; new. count: 1 to 3. */
PyObject *thrown(PyObject *const *args, Py_ssize_t count);
/* The result of tp_iternext, in a recycled StopIteration (stop.c). Steals value. */
void stop_with(PyObject *value);
void stop_iteration_forget(void); /* what the recycled one still holds */

/* --- iterators (events.c, map.c) -------------------------------------------------- */

extern PyTypeObject Events_Type;
extern PyTypeObject Map_Type;

PyObject *events_new(struct run *run, Py_ssize_t queue); /* steals run */

struct map_options {
    Py_ssize_t limit;
    bool return_exceptions;
    bool ordered;
};

PyObject *map_new(struct syslet_object *syslet, PyObject *iterable,
                  const struct map_options *options);

/* --- engines (engine.c) ------------------------------------------------------------ */

struct engine_object {
    PyObject_HEAD struct engine *engine; /* owned; NULL: closed */
    PyObject *loop;                      /* owned; NULL: not set */
    PyObject *future_kwargs;             /* owned: {"loop": loop} */
    PyObject *flush;                     /* owned; NULL: somebody turns anyway */
    PyObject *weakrefs;
    PyThreadState *released; /* borrowed: while the lock is released */
    unsigned long thread;
    uint32_t inside; /* depth of calls that must not be interrupted by turn or close */
    int64_t flush_due_ns; /* what flush was told since the last turn; INT64_MAX */
    bool closing;
    bool strays;         /* some run in the list is one */
    struct run *runs;    /* list head: those with a flight */
    struct run *dead;    /* owned: landed orphans, freed at the end of the turn */
    struct trace *trace; /* owned, and lent to the engine; NULL: none */
    struct engine_options options;
};

extern PyTypeObject Engine_Type;
extern PyTypeObject FixedMemory_Type; /* fixed.c */

/* trace.c: methods of it. */
PyObject *engine_stats_method(struct engine_object *self, PyObject *none);
PyObject *engine_misses_method(struct engine_object *self, PyObject *none);
PyObject *engine_miss_path_method(struct engine_object *self, PyObject *number);
PyObject *engine_get_flying(struct engine_object *self, void *none);
PyObject *engine_trace_method(struct engine_object *self, PyObject *keeps);
PyObject *engine_take_spans_method(struct engine_object *self, PyObject *none);
PyObject *engine_take_slowest_method(struct engine_object *self, PyObject *none);

/* The engine for a flight that starts now on this thread. Borrowed; NULL: exception. */
struct engine_object *engine_current(void);
bool
engine_is_mine(const struct engine_object *engine); /* this thread's, or exception */
bool engine_is_open(const struct engine_object *engine);    /* or exception */
void engine_forget_in_thread(struct engine_object *engine); /* it was closed */
/* One turn; it does not wait if *busy is not 0 (NULL: nothing is). -errno; -ECANCELED:
 * an exception is set. */
int engine_take_turn(struct engine_object *engine, int64_t timeout_ns,
                     const uint32_t *busy, bool *watched);
void engine_flush(struct engine_object *engine); /* tells a foreign loop to turn it */
PyObject *engine_future(struct engine_object *engine); /* new */
PyObject *native_set_current(PyObject *module, PyObject *engine);
PyObject *native_set_attach(PyObject *module, PyObject *callable);

/* --- directories (folder.c) */

PyObject *native_read_entries(PyObject *module, PyObject *const *args,
                              Py_ssize_t count);
PyObject *native_sort_entries(PyObject *module, PyObject *const *args,
                              Py_ssize_t count);

/* --- the module (module.c) ----------------------------------------------------------- */

struct names { /* owned for ever: interned strings */
    PyObject *call_soon, *close, *describe, *done, *fileno, *function, *future_loop;
    PyObject *loop, *queue, *set_result, *signature, *timeout;
};

extern struct names names;

/* An attribute of a module that is imported when first needed; *slot keeps it. */
PyObject *module_attribute(PyObject **slot, const char *module, const char *name);

/* Raises an exception that is owned, as it is. Steals it. */
void exception_raise(PyObject *exception);
PyObject *exception_take(void); /* the one that is set, normalized; new */

#endif
