/* Sources: the objects of the loop that have a watched descriptor, see loop.h.
 *
 * A source is open from source_open to source_close; the core keeps its object alive
 * meanwhile, engine or no engine. What the engine sees is noted and queued; the tick
 * runs it. Nothing here makes system calls but through the engine. */
#include "loop.h"

#include <poll.h>

void
source_init(struct source *source, const struct source_kind *kind, PyObject *object)
{
    memset(source, 0, sizeof(*source));
    watch_init(&source->watch);
    source->kind = kind;
    source->object = object;
    source->fd = -1;
}

static struct engine *
engine_of(const struct core *core)
{
    return core->engine == NULL ? NULL : core->engine->engine;
}

static int
begin(struct source *source)
{
    struct engine *engine = engine_of(source->core);
    if (engine == NULL || source->watch.place != WATCH_IDLE) {
        return 0; /* sources_begin will */
    }
    if (watch_begin(&source->watch, engine, source->fd, source->kind->watch) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    source->begun = true;
    return 0;
}

int
source_open(struct source *source, struct core *core, int fd)
{
    assert(!source->listed && fd >= 0);
    if (core_check_process(core) < 0) {
        return -1;
    }
    source->core = core;
    source->fd = fd;
    source->events = 0;
    if (begin(source) < 0) {
        return -1;
    }
    source->previous = NULL;
    source->following = core->sources;
    if (core->sources != NULL) {
        core->sources->previous = source;
    }
    core->sources = source;
    source->listed = source->held = true;
    Py_INCREF(source->object);
    return 0;
}

void
source_hold(struct source *source, bool held)
{
    if (!source->listed || source->held == held) {
        return;
    }
    source->held = held;
    if (held) {
        Py_INCREF(source->object);
    } else {
        Py_DECREF(source->object);
    }
}

void
source_want_write(struct source *source)
{
    if (source->watch.place != WATCH_IDLE) {
        watch_write(&source->watch);
    } else if (source->listed) {
        (void)source_queue(source, POLLOUT); /* no engine yet: just try again */
        PyErr_Clear();
    }
}

void
source_close(struct source *source)
{
    watch_end(&source->watch);
    source_trust(source);
    source->events = 0;
    if (!source->listed) {
        return;
    }
    if (source->previous != NULL) {
        source->previous->following = source->following;
    } else {
        source->core->sources = source->following;
    }
    if (source->following != NULL) {
        source->following->previous = source->previous;
    }
    source->previous = source->following = NULL;
    source->listed = false;
    if (source->held) {
        source->held = false;
        Py_DECREF(source->object);
    }
}

void
source_flush(struct core *core)
{
    struct engine *engine = engine_of(core);
    if (engine != NULL) {
        watch_flush(engine);
    }
}

void
source_gather(struct source *source)
{
    struct core *core = source->core;
    if (source->gathered) {
        return;
    }
    source->gathered = true;
    source->next_gathered = NULL;
    if (core->gathered_first == NULL) {
        core->gathered_first = source;
    } else {
        core->gathered_last->next_gathered = source;
    }
    core->gathered_last = source;
    core->gathered_count += 1;
    Py_INCREF(source->object);
}

static int
flush(struct source *source)
{
    int res = source->kind->flush(source);
    if (UNLIKELY(res < 0) && !exception_is_fatal()) {
        PyObject *exception = exception_take();
        PyObject *args[] = {source->core->loop, source->object, exception};
        res = report("source_failed", args, 3);
        Py_DECREF(exception);
    }
    return res;
}

/* One that fails fatally does not keep the others from their turn. */
int
sources_settle(struct core *core)
{
    PyObject *before = PyErr_Occurred() ? exception_take() : NULL;
    PyObject *fatal = NULL;
    core->gathered_count = 0;
    while (core->gathered_first != NULL) {
        struct source *source = core->gathered_first;
        core->gathered_first = source->next_gathered;
        source->gathered = false;
        if (flush(source) < 0) {
            Py_XSETREF(fatal, exception_take());
        }
        Py_DECREF(source->object);
    }
    if (fatal != NULL) {
        Py_XDECREF(before);
        exception_raise(fatal);
        return -1;
    }
    if (before != NULL) {
        exception_raise(before);
    }
    return 0;
}

int
source_queue(struct source *source, uint32_t events)
{
    source->events |= events;
    return source->queued ? 0 : core_push_source(source->core, source);
}

void
source_watched(void *context, struct watch *watch, uint32_t mask)
{
    (void)context;
    struct source *source = (struct source *)watch;
    if (source_queue(source, mask) < 0) {
        PyErr_WriteUnraisable(NULL); /* no memory for eight bytes */
    }
}

int
sources_begin(struct core *core)
{
    for (struct source *source = core->sources; source != NULL;
         source = source->following) {
        bool again = source->begun;
        if (begin(source) < 0) {
            return -1;
        }
        /* What the engine before saw or was to look for is unknown: look at all. */
        if (again && source->kind->watch == WATCH_STREAM &&
            source_queue(source, POLLIN | POLLOUT) < 0) {
            return -1;
        }
    }
    return 0;
}

void
sources_lose_all(struct core *core)
{
    while (core->sources != NULL) {
        struct source *source = core->sources;
        PyObject *object = Py_NewRef(source->object);
        source_close(source);
        if (source->kind->lost != NULL) {
            source->kind->lost(source);
        }
        Py_DECREF(object);
    }
}
