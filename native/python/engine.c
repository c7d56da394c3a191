/* The Engine type: one engine as a Python object.
 *
 * An Engine object drives one engine on the thread that made it: our loop in its tick,
 * or attach.py on somebody else's loop. The lock is released only by the engine's own
 * hooks. What landings run inside a turn is limited to waking futures; leases of
 * orphans are given back when the turn is over. */
#include "loop.h"

#include <errno.h>
#include <math.h>

static PyObject *future_type;  /* owned for ever */
static PyObject *no_arguments; /* owned for ever */

/* --- what may be done with it -------------------------------------------------------------- */

bool
engine_is_mine(const struct engine_object *engine)
{
    if (LIKELY(PyThread_get_thread_ident() == engine->thread)) {
        return true;
    }
    PyErr_SetString(PyExc_RuntimeError, "this engine belongs to another thread");
    return false;
}

bool
engine_is_open(const struct engine_object *self)
{
    if (UNLIKELY(self->engine == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "the engine is closed");
        return false;
    }
    if (UNLIKELY(engine_is_forked(self->engine))) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this engine belongs to the parent process");
        return false;
    }
    return true;
}

/* For everything that must not happen in the middle of something else. */
static bool
is_usable(const struct engine_object *self)
{
    if (!engine_is_open(self) || !engine_is_mine(self)) {
        return false;
    }
    if (self->inside != 0) {
        PyErr_SetString(PyExc_RuntimeError, "the engine is in the middle of a turn");
        return false;
    }
    return true;
}

/* --- for the owners of runs ----------------------------------------------------------------- */

PyObject *
engine_future(struct engine_object *engine)
{
    PyObject *type = module_attribute(&future_type, "asyncio", "Future");
    if (type == NULL) {
        return NULL;
    }
    if (engine->future_kwargs == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the engine has no loop to wait in");
        return NULL;
    }
    if (no_arguments == NULL && (no_arguments = PyTuple_New(0)) == NULL) {
        return NULL;
    }
    /* Kept: the collector may run, and close the engine. */
    PyObject *kwargs = Py_NewRef(engine->future_kwargs);
    PyObject *future = PyObject_Call(type, no_arguments, kwargs);
    Py_DECREF(kwargs);
    return future;
}

/* Once per turn, and again if one is due sooner than was said. */
void
engine_flush(struct engine_object *engine)
{
    if (LIKELY(engine->flush == NULL) || engine->flush_due_ns == 0 ||
        engine->engine == NULL) {
        return;
    }
    int64_t due_ns = engine_due(engine->engine);
    if (due_ns < 0 || due_ns >= engine->flush_due_ns) {
        return;
    }
    PyObject *exception = PyErr_Occurred() ? exception_take() : NULL;
    PyObject *flush = Py_NewRef(engine->flush);
    Py_INCREF(engine);
    engine->flush_due_ns = due_ns;
    engine->inside += 1; /* it schedules a turn, and must not take one */
    PyObject *seconds = PyFloat_FromDouble((double)due_ns / 1e9);
    PyObject *res = seconds == NULL ? NULL : PyObject_CallOneArg(flush, seconds);
    Py_XDECREF(seconds);
    engine->inside -= 1;
    if (res == NULL) {
        engine->flush_due_ns = INT64_MAX;
        PyErr_WriteUnraisable(flush);
    }
    Py_XDECREF(res);
    Py_DECREF(flush);
    Py_DECREF(engine);
    if (exception != NULL) {
        exception_raise(exception);
    }
}

/* --- the engine's hooks --------------------------------------------------------------------- */

static void
lock_release(void *context)
{
    struct engine_object *self = context;
    assert(self->released == NULL);
    self->released = PyEval_SaveThread();
}

static void
lock_acquire(void *context)
{
    struct engine_object *self = context;
    PyThreadState *state = self->released;
    self->released = NULL;
    PyEval_RestoreThread(state);
}

/* --- turns -------------------------------------------------------------------------------------- */

static int
read_timeout(PyObject *value, int64_t *timeout_ns)
{
    if (value == Py_None) {
        *timeout_ns = -1;
        return 0;
    }
    double seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout is not a number");
        return -1;
    }
    /* Rounded up: waking too early would only mean another turn. */
    *timeout_ns = seconds <= 0    ? 0
                  : seconds > 9e9 ? INT64_MAX / 2
                                  : (int64_t)ceil(seconds * 1e9);
    return 0;
}

int
engine_take_turn(struct engine_object *self, int64_t timeout_ns, const uint32_t *busy,
                 bool *watched)
{
    if (UNLIKELY(!is_usable(self))) {
        return -ECANCELED;
    }
    if (UNLIKELY(self->strays)) {
        runs_see_to_strays(self);
    }
    stop_iteration_forget();
    self->flush_due_ns = INT64_MAX;
    self->inside += 1;
    timeout_ns = busy != NULL && *busy > 0 ? 0 : timeout_ns;
    int res = engine_turn(self->engine, timeout_ns, watched);
    self->inside -= 1;
    runs_free_dead(self);
    engine_flush(self);
    return res;
}

static PyObject *
engine_turn_method(struct engine_object *self, PyObject *timeout)
{
    int64_t timeout_ns;
    if (!is_usable(self) || read_timeout(timeout, &timeout_ns) < 0) {
        return NULL;
    }
    bool watched;
    int res = engine_take_turn(self, timeout_ns, NULL, &watched);
    if (UNLIKELY(res == -ECANCELED)) {
        return NULL;
    }
    if (UNLIKELY(res == -EINTR)) {
        if (PyErr_CheckSignals() < 0) {
            return NULL;
        }
    } else if (UNLIKELY(res < 0)) {
        errno = -res;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyBool_FromLong(watched);
}

static PyObject *
engine_watch_method(struct engine_object *self, PyObject *arg)
{
    long fd = PyLong_AsLong(arg);
    if ((fd == -1 && PyErr_Occurred()) || !is_usable(self)) {
        return NULL;
    }
    if (fd < -1 || fd > INT32_MAX) {
        return PyErr_Format(PyExc_ValueError, "%ld is no descriptor", fd);
    }
    int res = engine_watch(self->engine, (int)fd);
    if (res < 0) {
        errno = -res;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyObject *
engine_fileno_method(struct engine_object *self, PyObject *none)
{
    (void)none;
    if (!engine_is_open(self) || (engine_fd(self->engine) < 0 && !is_usable(self))) {
        return NULL;
    }
    int res = engine_make_pollable(self->engine);
    if (res < 0) {
        errno = -res;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(engine_fd(self->engine));
}

static PyObject *
engine_wake_method(struct engine_object *self, PyObject *none)
{
    (void)none;
    if (!engine_is_open(self)) {
        return NULL;
    }
    engine_wake(self->engine);
    Py_RETURN_NONE;
}

static PyObject *
engine_work_method(struct engine_object *self, PyObject *none)
{
    (void)none;
    return is_usable(self) ? PyBool_FromLong(engine_work(self->engine)) : NULL;
}

/* --- creation and end ----------------------------------------------------------------------------- */

static const char *const backend_names[] = {
    [BACKEND_ANY] = "any",
    [BACKEND_URING] = "uring",
    [BACKEND_EPOLL] = "epoll",
    [BACKEND_KERNEL] = "kernel",
};

static int
read_backend(const char *name, enum backend *backend)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(backend_names); i++) {
        if (strcmp(name, backend_names[i]) == 0) {
            *backend = (enum backend)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError,
                 "backend is 'any', 'kernel', 'uring' or 'epoll', not '%s'", name);
    return -1;
}

static PyObject *
engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"backend", "workers", "sq_entries",
                               "flights", "memory",  NULL};
    const char *backend = "any";
    struct engine_options options = {.workers_max = -1};
    unsigned long long memory = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|si$IIK:Engine", keywords, &backend,
                                     &options.workers_max, &options.sq_entries,
                                     &options.flights_max, &memory) ||
        read_backend(backend, &options.backend) < 0) {
        return NULL;
    }
    struct engine_object *self = (struct engine_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    options.memory_max = memory;
    self->options = options;
    self->thread = PyThread_get_thread_ident();
    self->flush_due_ns = INT64_MAX;
    const struct host host = {
        .context = self,
        .landed = run_report_landed,
        .emitted = run_report_emitted,
        .watched = source_watched,
        .lock_release = lock_release,
        .lock_acquire = lock_acquire,
    };
    int res = engine_create(&self->engine, &kernel_real, &host, &options);
    if (res < 0) {
        Py_DECREF(self);
        errno = -res;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

/* 0 or -errno. The caller holds a reference. */
static int
shut(struct engine_object *self)
{
    self->closing = true;
    if (!engine_is_forked(self->engine)) {
        runs_see_to_strays(self);
        runs_lose_all(self);
    }
    self->inside += 1;
    int res = engine_close(self->engine);
    self->inside -= 1;
    if (res == 0) {
        self->engine = NULL;
    }
    runs_free_dead(self);
    return res;
}

static PyObject *
engine_close_method(struct engine_object *self, PyObject *none)
{
    (void)none;
    if (self->engine == NULL) {
        Py_RETURN_NONE;
    }
    /* With nothing in the air any thread may: a loop can move between threads. */
    bool idle = self->runs == NULL && self->inside == 0;
    if (!engine_is_forked(self->engine) && !idle && !is_usable(self)) {
        return NULL;
    }
    int res = shut(self);
    engine_forget_in_thread(self);
    if (res < 0) {
        errno = -res;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static int
engine_traverse(struct engine_object *self, visitproc visit, void *arg)
{
    Py_VISIT(self->loop);
    Py_VISIT(self->future_kwargs);
    Py_VISIT(self->flush);
    return 0;
}

static int
engine_clear(struct engine_object *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->future_kwargs);
    Py_CLEAR(self->flush);
    return 0;
}

/* Nothing is in the air: every flight holds a reference. So any thread may do this. */
static void
engine_finalize(struct engine_object *self)
{
    if (self->engine == NULL) {
        return;
    }
    PyObject *exception = PyErr_Occurred() ? exception_take() : NULL;
    if (!engine_is_forked(self->engine) &&
        PyErr_ResourceWarning((PyObject *)self, 1, "unclosed engine %R", self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    if (self->engine != NULL) {
        (void)shut(self);
    }
    if (exception != NULL) {
        exception_raise(exception);
    }
}

static void
engine_dealloc(struct engine_object *self)
{
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    engine_clear(self);
    trace_free(self->trace);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* --- the type --------------------------------------------------------------------------------------- */

static PyObject *
engine_get_loop(struct engine_object *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->loop != NULL ? self->loop : Py_None);
}

static int
engine_set_loop(struct engine_object *self, PyObject *loop, void *closure)
{
    (void)closure;
    PyObject *kwargs = NULL;
    if (loop == Py_None) {
        loop = NULL;
    }
    if (loop != NULL) {
        kwargs = PyDict_New();
        if (kwargs == NULL || PyDict_SetItem(kwargs, names.loop, loop) < 0) {
            Py_XDECREF(kwargs);
            return -1;
        }
    }
    Py_XSETREF(self->future_kwargs, kwargs);
    Py_XSETREF(self->loop, Py_XNewRef(loop));
    return 0;
}

static PyObject *
engine_get_flush(struct engine_object *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->flush != NULL ? self->flush : Py_None);
}

static int
engine_set_flush(struct engine_object *self, PyObject *flush, void *closure)
{
    (void)closure;
    Py_XSETREF(self->flush, flush == Py_None ? NULL : Py_XNewRef(flush));
    return 0;
}

static PyObject *
engine_get_backend(struct engine_object *self, void *closure)
{
    (void)closure;
    if (!engine_is_open(self)) {
        return NULL;
    }
    return PyUnicode_FromString(backend_names[engine_backend(self->engine)]);
}

static PyObject *
engine_get_backend_errno(struct engine_object *self, void *closure)
{
    (void)closure;
    return engine_is_open(self) ? PyLong_FromLong(engine_backend_errno(self->engine))
                                : NULL;
}

static PyObject *
engine_get_closed(struct engine_object *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->engine == NULL);
}

static PyObject *
engine_get_is_mine(struct engine_object *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(PyThread_get_thread_ident() == self->thread);
}

static PyMethodDef engine_methods[] = {
    {"turn", (PyCFunction)engine_turn_method, METH_O,
     "turn(timeout, /)\n--\n\nOne turn, waiting at most `timeout` seconds (None: until "
     "something happens).\nTrue if the watched descriptor is readable."},
    {"watch", (PyCFunction)engine_watch_method, METH_O,
     "watch(fd, /)\n--\n\nA descriptor whose readiness ends the wait of turn; -1: "
     "none."},
    {"fileno", (PyCFunction)engine_fileno_method, METH_NOARGS,
     "fileno()\n--\n\nReadable when turn(0) has something to do."},
    {"wake", (PyCFunction)engine_wake_method, METH_NOARGS,
     "wake()\n--\n\nEnd the wait of turn; from any thread."},
    {"work", (PyCFunction)engine_work_method, METH_NOARGS,
     "work()\n--\n\nRun one queued job (workers=0); False if there is none."},
    {"miss_path", (PyCFunction)engine_miss_path_method, METH_O,
     "miss_path(nr, /)\n--\n\nWhere a miss of this system call goes: 'ring', "
     "'readiness', 'worker',\n'kernel'; or 'never'."},
    {"stats", (PyCFunction)engine_stats_method, METH_NOARGS,
     "stats()\n--\n\nThe engine's counters, and its flights by state and place."},
    {"misses", (PyCFunction)engine_misses_method, METH_NOARGS,
     "misses()\n--\n\nHow often a flight left the thread, by operation."},
    {"trace", (PyCFunction)engine_trace_method, METH_O,
     "trace(keep, /)\n--\n\nNote every span, or (False) the slowest inline atom."},
    {"take_spans", (PyCFunction)engine_take_spans_method, METH_NOARGS,
     "take_spans()\n--\n\nThe spans noted so far, as tuples, and how many were too "
     "many."},
    {"take_slowest", (PyCFunction)engine_take_slowest_method, METH_NOARGS,
     "take_slowest()\n--\n\nThe slowest inline atom since the last call, or None."},
    {"close", (PyCFunction)engine_close_method, METH_NOARGS,
     "close()\n--\n\nGive up every flight, wait for their landing, free everything."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef engine_getset[] = {
    {"loop", (getter)engine_get_loop, (setter)engine_set_loop,
     "The asyncio loop whose futures flights wait on.", NULL},
    {"flush", (getter)engine_get_flush, (setter)engine_set_flush,
     "flush(seconds) is called when a turn is due in `seconds` that nobody else "
     "takes;\n"
     "it schedules turn(0).",
     NULL},
    {"backend", (getter)engine_get_backend, NULL, "'kernel', 'uring' or 'epoll'.",
     NULL},
    {"backend_errno", (getter)engine_get_backend_errno, NULL,
     "Why it does not use io_uring; 0 if it does.", NULL},
    {"flying", (getter)engine_get_flying, NULL, "Flights in the air.", NULL},
    {"is_mine", (getter)engine_get_is_mine, NULL, "Whether the calling thread made it.",
     NULL},
    {"closed", (getter)engine_get_closed, NULL, "Whether close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Engine_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Engine",
    .tp_doc = "Engine(backend='any', workers=-1, *, sq_entries=0, flights=0, "
              "memory=0)\n--\n\n"
              "Runs syslets on the thread that made it.",
    .tp_basicsize = sizeof(struct engine_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_new = engine_new,
    .tp_dealloc = (destructor)engine_dealloc,
    .tp_finalize = (destructor)engine_finalize,
    .tp_traverse = (traverseproc)engine_traverse,
    .tp_clear = (inquiry)engine_clear,
    .tp_weaklistoffset = offsetof(struct engine_object, weakrefs),
    .tp_methods = engine_methods,
    .tp_getset = engine_getset,
};
