/* Watches: the host's own descriptors, see watch.h. The engine's thread only. */
#include "watch.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "engine_private.h"

static struct watch **
list_of(struct engine *engine, enum watch_place place)
{
    return place == WATCH_DUE ? &engine->watches_due : &engine->watches_armed;
}

static void
leave_list(struct watch *watch)
{
    struct watch **head = list_of(watch->engine, watch->place);
    if (watch->previous != NULL) {
        watch->previous->following = watch->following;
    } else {
        *head = watch->following;
    }
    if (watch->following != NULL) {
        watch->following->previous = watch->previous;
    }
    watch->previous = watch->following = NULL;
}

static void
join_list(struct watch *watch, enum watch_place place)
{
    struct watch **head = list_of(watch->engine, place);
    watch->place = place;
    watch->previous = NULL;
    watch->following = *head;
    if (*head != NULL) {
        (*head)->previous = watch;
    }
    *head = watch;
}

static void
move(struct watch *watch, enum watch_place place)
{
    if (watch->place != place) {
        leave_list(watch);
        join_list(watch, place);
    }
}

void
watch_init(struct watch *watch)
{
    *watch = (struct watch){.fd = -1, .own_fd = -1, .slot = SLOT_NONE};
}

int
watch_begin(struct watch *watch, struct engine *engine, int fd, enum watch_kind kind)
{
    assert(watch->place == WATCH_IDLE && fd >= 0);
    int res = slots_take(&engine->watch_slots, watch, &watch->slot);
    if (res < 0) {
        return res;
    }
    watch->engine = engine;
    watch->fd = fd;
    watch->kind = kind;
    watch->write_wanted = kind == WATCH_WRITE_ONCE;
    join_list(watch, WATCH_DUE);
    return 0;
}

void
watch_write(struct watch *watch)
{
    assert(watch->place != WATCH_IDLE && watch->kind == WATCH_STREAM);
    if (!watch->write_wanted) {
        watch->write_wanted = true;
        move(watch, WATCH_DUE);
    }
}

static void
detach(struct watch *watch)
{
    leave_list(watch);
    slots_give(&watch->engine->watch_slots, watch->slot);
    watch->slot = SLOT_NONE;
    watch->place = WATCH_IDLE;
    watch->polled = watch->write_polled = watch->write_wanted = false;
    if (watch->own_fd >= 0) { /* in a forked child: the duplicate is ours to close */
        engine_call(watch->engine, __NR_close, (uint64_t)watch->own_fd, 0, 0, 0, 0, 0);
        watch->own_fd = -1;
    }
    watch->engine = NULL;
}

/* In a forked child the polls are the parent's; only a duplicate is the child's too. */
static void
unpoll(struct watch *watch)
{
    if (!engine_is_forked(watch->engine)) {
        watch->engine->backend->unpoll(watch);
    } else if (watch->own_fd >= 0) {
        engine_call(watch->engine, __NR_close, (uint64_t)watch->own_fd, 0, 0, 0, 0, 0);
        watch->own_fd = -1;
    }
}

void
watch_end(struct watch *watch)
{
    if (watch->place == WATCH_IDLE) {
        return;
    }
    unpoll(watch);
    detach(watch);
}

void
watch_flush(struct engine *engine)
{
    if (engine->removals_due && !engine_is_forked(engine)) {
        engine->backend->flush(engine);
    }
}

/* Tried again before the next wait, which is short until then. */
static bool
is_shortage(int res)
{
    return res == -EBUSY || res == -ENOSPC || res == -ENOMEM || res == -EMFILE ||
           res == -ENFILE;
}

void
watches_arm(struct engine *engine)
{
    struct watch *watch = engine->watches_due;
    while (watch != NULL) {
        struct watch *following = watch->following;
        int res = engine->backend->poll(watch);
        if (res == 0) {
            move(watch, WATCH_ARMED);
        } else if (!is_shortage(res)) { /* the host's own call will say what it is */
            watch_reported(watch, POLLERR | POLLIN | POLLOUT);
        }
        watch = following;
    }
}

void
watch_reported(struct watch *watch, uint32_t mask)
{
    struct engine *engine = watch->engine;
    if (watch->kind == WATCH_STREAM && !watch->write_wanted) {
        mask &= ~(uint32_t)POLLOUT; /* epoll reports both edges */
        if (mask == 0) {
            return;
        }
    }
    if (mask & (POLLOUT | POLLERR | POLLHUP)) {
        watch->write_wanted = false;
    }
    if (watch->kind != WATCH_STREAM) {
        engine->backend->unpoll(watch);
        detach(watch);
    } else if (watch->place == WATCH_DUE && (mask & POLLERR) && !watch->polled) {
        move(watch, WATCH_ARMED); /* not polled again: it would fail for ever */
    }
    engine->host.watched(engine->host.context, watch, mask);
}

void
watch_is_due(struct watch *watch)
{
    move(watch, WATCH_DUE);
}

static void
detach_all(struct watch *watch)
{
    while (watch != NULL) {
        struct watch *following = watch->following;
        unpoll(watch);
        detach(watch);
        watch = following;
    }
}

void
watches_close(struct engine *engine)
{
    detach_all(engine->watches_due);
    detach_all(engine->watches_armed);
    slots_close(&engine->watch_slots);
}
