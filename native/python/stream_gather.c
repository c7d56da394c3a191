/* Writes that wait a moment, so that several become one system call or one wake-up.
 *
 * A protocol that writes a head and then a body pays for two sends; a peer on the same
 * machine that is woken for each of fifty answers costs more than answering. So writes
 * are kept back in two cases, and sent at once in all others, as asyncio does:
 *
 * - A transport whose program has written several times per callback again and again:
 *   until the callback ends.
 * - A callback that is not a transport's own (a step of a task) writes, and the tick
 *   before this one had several such writes: until the tick ends.
 *
 * What is kept back is sent before anything that shows it: closing, pausing of the
 * protocol, get_write_buffer_size, write_eof, sendfile. */
#include "stream.h"

#include <errno.h>

enum {
    GATHER_BYTES = 16 * 1024, /* more than this is sent at once */
    DOUBLES_MIN = 4, /* callbacks in a row with several writes, until it gathers */
    SINGLES_MAX = 8, /* callbacks in a row with one, until it does so no more */
};

/* Notes a write of the callback that is being run. */
static void
note_write(struct stream *self, uint32_t callback)
{
    if (self->wrote_in != callback) {
        self->doubles = self->doubled_in == self->wrote_in ? self->doubles : 0;
        self->wrote_in = callback;
    } else if (self->doubled_in != callback) {
        self->doubled_in = callback;
        self->doubles += 1;
        self->gathering = self->doubles >= DOUBLES_MIN;
        self->singles = 0;
    }
}

/* Outside of the loop's callbacks nobody would send it, and a forked child must not send
 * what its parent will. */
bool
stream_may_gather(struct stream *self, Py_ssize_t size, bool copied)
{
    struct core *core = loop_core(self->base.loop);
    if (!core->in_entry || core->forked) {
        return false;
    }
    core->writes += !core->in_source;
    if (self->base.gathers) {
        return !copied || size <= GATHER_BYTES;
    }
    if (!self->gathering) {
        note_write(self, core->entries);
    }
    return (self->gathering || (core->busy && !core->in_source)) &&
           self->base.place == TRANSPORT_OPEN && self->chunks_count == 0 &&
           size <= GATHER_BYTES && size <= self->base.high;
}

int
stream_gathered(struct stream *self)
{
    struct transport *base = &self->base;
    if (!base->gathers) {
        PyObject *context = PyContext_CopyCurrent(); /* of who writes, for later */
        if (context == NULL) {
            stream_forget_chunks(self);
            return -1;
        }
        if (base->place != TRANSPORT_OPEN || self->eof || self->empty_waiter != NULL) {
            Py_DECREF(context); /* the collector ran, and somebody waits for the end */
            return transport_is_lost(base) ? 0 : transport_want_write(base);
        }
        base->gathers = true; /* first: the end of the other context may run any code */
        Py_XSETREF(base->write_context, context);
    }
    if (self->chunks_count >= IOVECS || base->buffered > GATHER_BYTES ||
        base->buffered > base->high) {
        return stream_settle(base);
    }
    source_gather(&base->source);
    return 0;
}

/* One write only: perhaps its program has changed its ways. */
static void
learn(struct stream *self)
{
    self->singles = self->chunks_count == 1 ? self->singles + 1 : 0;
    if (self->singles >= SINGLES_MAX) {
        self->gathering = false;
        self->doubles = 0;
    }
}

/* It failed, or something is left. */
static int
conclude(struct transport *base)
{
    struct stream *self = (struct stream *)base;
    if (self->send_error != 0 && !stream_error_is_temporary(self->send_error)) {
        errno = self->send_error;
        return stream_write_failed(self);
    }
    source_hold(&base->source, true);
    source_want_write(&base->source);
    return transport_maybe_pause(base);
}

int
stream_settle(struct transport *base)
{
    struct stream *self = (struct stream *)base;
    if (UNLIKELY(transport_is_lost(base) || loop_core(base->loop)->forked)) {
        stream_forget_chunks(self);
        return 0;
    }
    base->gathers = false;
    if (self->gathering) {
        learn(self);
    }
    bool failed = self->chunks_count > 0 && stream_send_chunks(self) < 0;
    self->send_error = failed ? errno : 0;
    if (LIKELY(self->chunks_count == 0)) {
        transport_hold(base);
        return 0;
    }
    return context_run(base->write_context, conclude, base);
}

int
stream_flush(struct source *source)
{
    return transport_settle((struct transport *)source->object);
}
