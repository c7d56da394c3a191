/* A record of what an engine did, see trace.h. */
#define _GNU_SOURCE
#include "trace.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine_private.h"

enum { ROOM_FIRST = 1024 };

struct trace {
    pthread_mutex_t lock; /* guards the spans and the slowest */
    bool keeps;
    struct trace_span *spans; /* owned: a ring */
    uint32_t first, count, room;
    uint64_t dropped;
    struct trace_span slowest;
    uint32_t flights;           /* numbered so far */
    uint64_t turn_ns, after_ns; /* a turn began; the last wait ended, or 0 */
};

static uint64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct trace *
trace_new(bool keeps)
{
    struct trace *trace = calloc(1, sizeof(*trace));
    if (trace != NULL) {
        pthread_mutex_init(&trace->lock, NULL);
        trace->keeps = keeps;
    }
    return trace;
}

void
trace_free(struct trace *trace)
{
    if (trace != NULL) {
        free(trace->spans);
        free(trace);
    }
}

/* --- noting -------------------------------------------------------------------------- */

static bool
has_room(struct trace *trace)
{
    if (trace->count < trace->room) {
        return true;
    }
    uint32_t room = trace->room == 0 ? ROOM_FIRST : trace->room * 2;
    struct trace_span *spans =
        room > TRACE_SPANS_MAX ? NULL : malloc(room * sizeof(*spans));
    if (spans == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < trace->count; i++) {
        spans[i] = trace->spans[(trace->first + i) % trace->room];
    }
    free(trace->spans);
    trace->spans = spans;
    trace->first = 0;
    trace->room = room;
    return true;
}

static void
note(struct trace *trace, const struct trace_span *span)
{
    pthread_mutex_lock(&trace->lock);
    uint64_t longest = trace->slowest.end_ns - trace->slowest.start_ns;
    if (span->kind == TRACE_ATOM && span->path == PATH_INLINE &&
        span->end_ns - span->start_ns > longest) {
        trace->slowest = *span;
    }
    if (trace->keeps && has_room(trace)) {
        trace->spans[(trace->first + trace->count) % trace->room] = *span;
        trace->count += 1;
    } else {
        trace->dropped += trace->keeps;
    }
    pthread_mutex_unlock(&trace->lock);
}

static struct trace_span
span_of(const struct flight *flight, enum trace_kind kind, uint64_t start_ns)
{
    struct trace_span span = {
        .kind = kind,
        .start_ns = start_ns,
        .end_ns = now_ns(),
        .flight = flight->number,
        .thread = (uint32_t)syscall(SYS_gettid),
    };
    memcpy(span.label, flight->plan->label, sizeof(span.label));
    return span;
}

void
trace_flew(struct flight *flight)
{
    flight->number = ++flight->engine->trace->flights;
    flight->went = PATH_INLINE;
    flight->flew_ns = flight->began_ns = now_ns();
}

void
trace_began(struct flight *flight)
{
    if (flight->went == PATH_INLINE) { /* not one that was away */
        flight->began_ns = now_ns();
    }
}

void
trace_settled(struct flight *flight, uint32_t atom, int64_t result)
{
    const struct step *step = &flight->plan->steps[atom];
    struct trace_span span = span_of(flight, TRACE_ATOM, flight->began_ns);
    span.atom = atom;
    span.op = step->op->name;
    span.nr = step->nr;
    span.result = result;
    span.path = flight->place == PLACE_WORKER ? PATH_WORKER : (int)flight->went;
    note(flight->engine->trace, &span);
    flight->began_ns = span.end_ns;
    flight->went = PATH_INLINE;
}

/* An atom that was away when its flight was cancelled has had no result. */
void
trace_landed(struct flight *flight)
{
    if (flight->went != PATH_INLINE && flight_is_ending(flight)) {
        trace_settled(flight, flight_current(flight), -ECANCELED);
    }
    struct trace_span span = span_of(flight, TRACE_FLIGHT, flight->flew_ns);
    span.result = flight_is_ending(flight) ? -ECANCELED : flight->result;
    span.path = (int)flight->path;
    note(flight->engine->trace, &span);
}

static void
note_turn(struct trace *trace, enum trace_kind kind, uint64_t start_ns, uint64_t end_ns)
{
    const struct trace_span span = {
        .kind = kind,
        .start_ns = start_ns,
        .end_ns = end_ns,
        .thread = (uint32_t)syscall(SYS_gettid),
    };
    note(trace, &span);
}

void
trace_turn_begins(struct trace *trace)
{
    trace->turn_ns = now_ns();
    if (trace->after_ns != 0) {
        note_turn(trace, TRACE_TICK, trace->after_ns, trace->turn_ns);
    }
}

void
trace_turn_waited(struct trace *trace)
{
    trace->after_ns = now_ns();
    note_turn(trace, TRACE_WAIT, trace->turn_ns, trace->after_ns);
}

/* --- reading ---------------------------------------------------------------------------- */

bool
trace_take(struct trace *trace, struct trace_span *span)
{
    pthread_mutex_lock(&trace->lock);
    bool some = trace->count > 0;
    if (some) {
        *span = trace->spans[trace->first];
        trace->first = (trace->first + 1) % trace->room;
        trace->count -= 1;
    }
    pthread_mutex_unlock(&trace->lock);
    return some;
}

uint64_t
trace_dropped(const struct trace *trace)
{
    return trace->dropped;
}

bool
trace_take_slowest(struct trace *trace, struct trace_span *span)
{
    pthread_mutex_lock(&trace->lock);
    *span = trace->slowest;
    memset(&trace->slowest, 0, sizeof(trace->slowest));
    pthread_mutex_unlock(&trace->lock);
    return span->end_ns != 0;
}
