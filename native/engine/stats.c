/* What an engine tells of itself: counters kept where things happen, flights by state and
 * place counted when asked, misses by system call. Called by hosts through engine.h, on
 * the engine's thread or with the host's lock; a flight changes its state and place
 * under one of them only. */
#include "engine_private.h"

static void
count_flight(struct engine_stats *stats, const struct flight *flight)
{
    stats->cancelling += flight->state == CANCELLING;
    stats->abandoned += flight->state == ORPHANED;
    switch (flight->place) {
    case PLACE_HERE:
        break;
    case PLACE_READY:
        stats->ready += 1;
        break;
    case PLACE_RING:
        stats->waiting += 1;
        break;
    case PLACE_WORKER:
        stats->working += 1;
        break;
    case PLACE_PAUSED:
        stats->paused += 1;
        break;
    }
}

void
engine_stats_get(const struct engine *engine, struct engine_stats *stats)
{
    *stats = engine->stats;
    stats->enters = engine->ring.enters;
    stats->submitted = engine->ring.submitted;
    stats->overflows = engine->ring.overflows;
    stats->workers = workers_alive((struct engine *)engine);
    stats->memory = __atomic_load_n(&engine->memory, __ATOMIC_RELAXED);
    for (const struct flight *flight = engine->in_air; flight != NULL;
         flight = flight->following) {
        count_flight(stats, flight);
    }
}

uint64_t
engine_flying(const struct engine *engine)
{
    return engine->stats.flying;
}

/* The flight leaves the engine's thread at its current atom, or after its last one: a
 * FIFO that it opened without waiting has to be opened again. */
void
stats_missed(struct flight *flight)
{
    uint32_t nr = flight->plan->steps[flight_current(flight)].nr;
    flight->engine->misses[nr < MISSES_COUNTED ? nr : MISSES_COUNTED] += 1;
}

uint64_t
engine_misses(const struct engine *engine, uint32_t nr)
{
    return engine->misses[nr < MISSES_COUNTED ? nr : MISSES_COUNTED];
}
