/* Watches: descriptors of the host's own, polled for it beside the flights.
 *
 * A watch is a part of the host's object. Between watch_begin and watch_end the
 * descriptor stays open and the object alive. What the poll saw is reported through
 * host->watched, from inside engine_turn, as a mask of POLLIN, POLLOUT, POLLRDHUP,
 * POLLERR and POLLHUP; the host only notes it there and must not end watches.
 *
 *   WATCH_STREAM      edges of readability until watch_end; of writability after
 *                     watch_write, until the next one was reported
 *   WATCH_READ_ONCE   one report of readability, then it has ended by itself
 *   WATCH_WRITE_ONCE  one report of writability, the same
 *
 * Polls are armed before the next wait, so a watch that ends sooner costs nothing. An
 * armed poll holds the file: after watch_end the file is free once watch_flush or the
 * next wait has returned. */
#ifndef SYSLET_WATCH_H
#define SYSLET_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct engine;

enum watch_kind { WATCH_STREAM, WATCH_READ_ONCE, WATCH_WRITE_ONCE };

enum watch_place {
    WATCH_IDLE,  /* begun with no engine, or ended */
    WATCH_DUE,   /* something has to be armed before the next wait */
    WATCH_ARMED, /* everything that is wanted is armed */
};

struct watch {
    struct engine *engine;  /* borrowed; NULL: idle */
    struct watch *previous; /* the engine's list of its place */
    struct watch *following;
    int fd;     /* borrowed from the host */
    int own_fd; /* owned: a duplicate (epoll backend); -1 */
    uint32_t slot;
    enum watch_kind kind;
    enum watch_place place;
    bool write_wanted;         /* somebody waits for room */
    bool polled, write_polled; /* requests that are out */
};

void watch_init(struct watch *watch);
/* -ENOMEM: too many watches; the watch is idle then. */
int watch_begin(struct watch *watch, struct engine *engine, int fd,
                enum watch_kind kind);
void watch_write(struct watch *watch); /* WATCH_STREAM: report when there is room */
void watch_end(struct watch *watch);   /* idempotent */
/* Makes the ends so far take effect: their files are no longer held. */
void watch_flush(struct engine *engine);

#endif
