/* Several writes of one callback become one system call.
 *
 * A protocol that writes a head and then a body pays for two sends and two wake-ups of
 * its peer. A transport whose program has been seen to do that again and again keeps
 * its writes back until the callback ends, which is before the loop does anything else;
 * all others send at once, as asyncio does. What is kept back is
 * sent before anything that could show that it was not: closing, pausing of the
 * protocol, get_write_buffer_size, is_closing, drain, write_eof, sendfile. */
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
    const struct core *core = loop_core(self->base.loop);
    if (!core->in_entry) {
        return false;
    }
    if (self->base.gathers) {
        return !copied || size <= GATHER_BYTES;
    }
    if (!self->gathering) {
        note_write(self, core->entries);
    }
    return self->gathering && self->chunks_count == 0 && size <= GATHER_BYTES &&
           size <= self->base.high && !core->forked;
}

int
stream_gathered(struct stream *self)
{
    struct transport *base = &self->base;
    base->gathers = true;
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

int
stream_settle(struct transport *base)
{
    struct stream *self = (struct stream *)base;
    if (UNLIKELY(transport_is_lost(base) || loop_core(base->loop)->forked)) {
        stream_forget_chunks(self);
        return 0;
    }
    base->gathers = false;
    learn(self);
    if (stream_send_chunks(self) < 0 && !stream_error_is_temporary(errno)) {
        return stream_write_failed(self);
    }
    if (self->chunks_count == 0) {
        transport_hold(base);
        return 0;
    }
    return transport_want_write(base) < 0 ? -1 : transport_maybe_pause(base);
}

int
stream_flush(struct source *source)
{
    return transport_settle((struct transport *)source->object);
}
