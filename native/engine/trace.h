/* A record of what an engine did, for timelines and for the reason of a slow turn.
 *
 * The host makes one, lends it to an engine and reads it; without one the engine looks at
 * a NULL pointer where something would be noted. Times are of CLOCK_MONOTONIC. Spans of
 * atoms come from workers too: everything but trace_turn_* takes the lock. Bounded:
 * what is too much is counted and dropped. */
#ifndef SYSLET_TRACE_H
#define SYSLET_TRACE_H

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct flight;
struct trace;

enum { TRACE_LABEL_MAX = 32 };
enum trace_kind { TRACE_FLIGHT, TRACE_ATOM, TRACE_TICK, TRACE_WAIT };

struct trace_span {
    uint64_t start_ns, end_ns;
    int64_t result;
    const char *op;  /* borrowed: constant; NULL: no atom */
    uint32_t nr;     /* of the system call */
    uint32_t flight; /* its number in this trace */
    uint32_t thread; /* the kernel's number */
    uint32_t atom;   /* index */
    enum trace_kind kind;
    int path; /* enum flight_path */
    char label[TRACE_LABEL_MAX];
};

/* keeps: all spans; else only the slowest inline atom. NULL: no memory. */
struct trace *trace_new(bool keeps);
void trace_free(struct trace *trace); /* NULL is nothing */
/* Takes out the oldest span. false: there is none. */
bool trace_take(struct trace *trace, struct trace_span *span);
uint64_t trace_dropped(const struct trace *trace);
/* The slowest inline atom since the last call. false: there was none. */
bool trace_take_slowest(struct trace *trace, struct trace_span *span);

/* For the engine. */
void trace_flew(struct flight *flight);  /* launched */
void trace_began(struct flight *flight); /* an atom begins now */
void trace_settled(struct flight *flight, uint32_t atom, int64_t result);
void trace_landed(struct flight *flight);    /* before its state says so */
void trace_turn_begins(struct trace *trace); /* the host's tick has ended */
void trace_turn_waited(struct trace *trace); /* the next one has begun */

#endif
