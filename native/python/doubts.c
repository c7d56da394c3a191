/* Sources of which something may be left to read though no edge will tell.
 *
 * A receive that stops at urgent data leaves what follows it. A poll in the ring cannot
 * say when: the kernel wakes it with POLLPRI for all data (sock_def_readable). To receive
 * once more after each message would cost a system call for each; so these sources are
 * noted, and looked at together a little later. */
#include "loop.h"

#include <time.h>

enum { DOUBTS_FIRST = 16 };

static const int64_t LATER_NS = 100 * 1000 * 1000;

static int64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int
make_room(struct core *core)
{
    if (core->doubts_count < core->doubts_room) {
        return 0;
    }
    uint32_t room = core->doubts_room == 0 ? DOUBTS_FIRST : core->doubts_room * 2;
    struct source **doubts =
        PyMem_Realloc(core->doubts, room * sizeof(struct source *));
    if (doubts == NULL) {
        return -1;
    }
    core->doubts = doubts;
    core->doubts_room = room;
    return 0;
}

int
source_doubt(struct source *source)
{
    struct core *core = source->core;
    if (source->doubt != 0) {
        return 0;
    }
    if (make_room(core) < 0) {
        return -1;
    }
    if (core->doubts_count == 0) {
        core->doubts_due_ns = now_ns() + LATER_NS;
    }
    core->doubts[core->doubts_count] = source;
    core->doubts_count += 1;
    source->doubt = core->doubts_count;
    return 0;
}

void
source_trust(struct source *source)
{
    if (source->doubt == 0) {
        return;
    }
    struct core *core = source->core;
    struct source *last = core->doubts[core->doubts_count - 1];
    core->doubts[source->doubt - 1] = last;
    last->doubt = source->doubt;
    source->doubt = 0;
    core->doubts_count -= 1;
}

/* One for which there is no memory keeps its place, and its turn comes again. */
int64_t
doubts_settle(struct core *core)
{
    int64_t left_ns = core->doubts_due_ns - now_ns();
    if (left_ns > 0) {
        return left_ns;
    }
    core->doubts_due_ns += LATER_NS - left_ns;
    while (core->doubts_count > 0) {
        struct source *source = core->doubts[core->doubts_count - 1];
        if (source_queue(source, SOURCE_AGAIN) < 0) {
            PyErr_Clear();
            return LATER_NS;
        }
        source_trust(source);
    }
    return 0;
}
