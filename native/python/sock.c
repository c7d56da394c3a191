/* The socket methods of the loop: the coroutines that they return, and their waiting.
 *
 * A call is an awaitable (awaitable.c) with a source in it (source.c). Nothing happens
 * before the first step. That step makes asyncio's checks and tries the system call;
 * what ends at once needs no future and no turn of the loop. Otherwise the descriptor
 * is watched for one report, which wakes the task, and the next step tries again. The
 * call that is over holds nothing: no socket, no memory, no loop. */
#include "sock.h"

enum { CALLS_FREE_MAX = 128 };

static struct sock_call *free_list; /* owned: linked by `loop` */
static uint32_t free_count;

static PyObject *call_names[SOCK_METHODS_COUNT][2]; /* owned for ever: see call_name */
static PyObject *gettimeout;                        /* owned for ever: interned */
static PyObject *ssl_socket_type; /* owned for ever; NULL: not known */

static struct sock_call *
call_of(struct awaitable *self)
{
    return (struct sock_call *)self;
}

/* --- asyncio's checks ------------------------------------------------------------------------ */

/* 0; -1: TypeError. A Python without ssl has no sockets of that kind. */
static int
refuse_ssl(PyObject *sock)
{
    if (module_attribute(&ssl_socket_type, "ssl", "SSLSocket") == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_ImportError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    int is_ssl = PyObject_IsInstance(sock, ssl_socket_type);
    if (is_ssl > 0) {
        PyErr_SetString(PyExc_TypeError, "Socket cannot be of type SSLSocket");
    }
    return is_ssl == 0 ? 0 : -1;
}

static int
refuse_blocking(PyObject *sock)
{
    PyObject *timeout = PyObject_CallMethodNoArgs(sock, gettimeout);
    PyObject *zero = PyLong_FromLong(0);
    int differs = -1;
    if (timeout != NULL && zero != NULL) {
        differs = PyObject_RichCompareBool(timeout, zero, Py_NE);
    }
    Py_XDECREF(timeout);
    Py_XDECREF(zero);
    if (differs > 0) {
        PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
    }
    return differs == 0 ? 0 : -1;
}

/* Before a descriptor is watched: a transport's own must be left to it. */
static int
refuse_transport(PyObject *loop, int fd)
{
    const struct core *core = loop_core(loop);
    if ((uint32_t)fd >= core->holders_room || core->holders[fd] == NULL) {
        return 0;
    }
    PyObject *res = PyObject_CallMethod(loop, "_ensure_fd_no_transport", "i", fd);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* --- waiting ----------------------------------------------------------------------------------- */

/* The awaitable is alive meanwhile: the loop holds it. */
static int
call_ready(struct source *source, uint32_t events)
{
    (void)events;
    struct awaitable *self = (struct awaitable *)source->object;
    source_close(source);
    waiter_wake(&self->waiter, false);
    return 0;
}

/* A loop that is closed just closes them: the future stays as it is, as asyncio's do. */
static const struct source_kind wait_to_read = {
    .name = "a socket call that reads",
    .watch = WATCH_READ_ONCE,
    .ready = call_ready,
};

static const struct source_kind wait_to_write = {
    .name = "a socket call that writes",
    .watch = WATCH_WRITE_ONCE,
    .ready = call_ready,
};

/* Watches the descriptor for one report. -1: exception. */
static int
call_watch(struct sock_call *self)
{
    struct core *core = loop_core(self->loop);
    int fd = socket_number(self->args[0]);
    if (fd < 0 || refuse_transport(self->loop, fd) < 0) {
        return -1;
    }
    if (core->closed) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    self->source.kind = sock_kind_of(self)->source;
    return source_open(&self->source, core, fd);
}

static struct waiter *
call_waiter(struct awaitable *self)
{
    return &self->waiter;
}

static PyObject *
call_future(struct awaitable *self)
{
    return loop_create_future(call_of(self)->loop);
}

/* --- steps ---------------------------------------------------------------------------------------- */

/* Lets go of everything; the fields are empty before anybody can see them again. */
static void
call_release(struct sock_call *self)
{
    if (self->view.obj != NULL) {
        PyBuffer_Release(&self->view);
    }
    for (size_t i = 0; i < SOCK_ARGS; i++) {
        Py_CLEAR(self->args[i]);
    }
    Py_CLEAR(self->loop);
}

static void
call_leave(struct awaitable *self)
{
    source_close(&call_of(self)->source);
    waiter_drop(&self->waiter, self);
    call_release(call_of(self));
}

/* The first step, up to the system call. May run Python code: facts are read before
 * and have to be read again. -1: exception. */
static int
call_begin(struct sock_call *self, bool is_plain, const struct socket_facts *facts)
{
    PyObject *sock = self->args[0];
    if (!is_plain && refuse_ssl(sock) < 0) {
        return -1;
    }
    if (UNLIKELY(loop_core(self->loop)->debug) && refuse_blocking(sock) < 0) {
        return -1;
    }
    if (LIKELY(is_plain && sock_kind_of(self)->prepare(self, facts))) {
        self->way = WAY_NATIVE;
    } else {
        self->way = WAY_ASK;
    }
    return 0;
}

/* The attempt. A socket may be given another class while the call waits, and is closed
 * by whatever it likes: its descriptor is good for one system call. */
static enum outcome
call_try(struct sock_call *self, PyObject **result)
{
    struct socket_facts facts;
    bool is_plain = socket_read_facts(self->args[0], &facts);
    if (self->way == WAY_OPEN) {
        if (call_begin(self, is_plain, &facts) < 0) {
            return OUTCOME_ERROR;
        }
        is_plain = socket_read_facts(self->args[0], &facts);
    }
    if (LIKELY(self->way == WAY_NATIVE && is_plain)) {
        return sock_kind_of(self)->native(self, &facts, result);
    }
    self->way = WAY_ASK;
    PyBuffer_Release(&self->view);
    return sock_kind_of(self)->ask(self, result);
}

static enum outcome
call_advance(struct awaitable *base, PyObject **result)
{
    struct sock_call *self = call_of(base);
    if (UNLIKELY(self->source.listed)) { /* somebody else has set the future */
        source_close(&self->source);
    }
    enum outcome outcome = call_try(self, result);
    if (LIKELY(outcome == OUTCOME_VALUE)) {
        call_release(self);
    } else if (outcome == OUTCOME_WAIT && call_watch(self) < 0) {
        return OUTCOME_ERROR;
    }
    return outcome;
}

/* --- life ----------------------------------------------------------------------------------------- */

static PyTypeObject SockCall_Type;

/* An object of the free list begins again; its type has stayed. */
static inline void
revive(PyObject *object)
{
#if defined(Py_REF_DEBUG) || defined(Py_TRACE_REFS)
    (void)PyObject_Init(object, Py_TYPE(object));
#else
    Py_SET_REFCNT(object, 1);
#endif
}

static struct sock_call *
call_new(enum sock_method method)
{
    struct sock_call *self = free_list;
    if (LIKELY(self != NULL)) {
        free_list = (struct sock_call *)self->loop;
        free_count -= 1;
        revive((PyObject *)self);
    } else {
        self = PyObject_GC_New(struct sock_call, &SockCall_Type);
        if (self == NULL) {
            return NULL;
        }
        memset(self->args, 0, sizeof(self->args));
        self->base.source = NULL;
        self->view.obj = NULL;
        source_init(&self->source, NULL, (PyObject *)self);
    }
    awaitable_begin(&self->base, &sock_kinds[method].awaitable);
    self->way = WAY_OPEN;
    self->done = 0;
    return self;
}

static int
call_traverse(struct sock_call *self, visitproc visit, void *arg)
{
    Py_VISIT(self->base.iterator);
    Py_VISIT(self->base.waiter.future);
    Py_VISIT(self->loop);
    Py_VISIT(self->view.obj);
    for (size_t i = 0; i < SOCK_ARGS; i++) {
        Py_VISIT(self->args[i]);
    }
    return 0;
}

static void
call_dealloc(struct sock_call *self)
{
    PyObject *object = (PyObject *)self;
    if (UNLIKELY(self->base.state != AWAIT_DONE) &&
        PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    PyObject_GC_UnTrack(object);
    assert(self->base.iterator == NULL && self->base.waiter.future == NULL);
    assert(self->loop == NULL && !self->source.listed && !self->source.queued);
    /* One that was finalized would not be finalized again. */
    if (free_count < CALLS_FREE_MAX && !self->base.is_finalized) {
        self->loop = (PyObject *)free_list;
        free_list = self;
        free_count += 1;
    } else {
        PyObject_GC_Del(object);
    }
}

/* --- arguments -------------------------------------------------------------------------------------- */

static PyObject *
call_name(struct awaitable *self)
{
    return call_names[sock_kind_of(call_of(self)) - sock_kinds][1];
}

static int
refuse_arguments(const struct sock_kind *kind, const char *complaint, const char *name)
{
    PyErr_Format(PyExc_TypeError, "EventLoop.%s() %s '%s'", kind->name, complaint,
                 name);
    return -1;
}

/* One keyword argument into its place. */
static int
place_keyword(const struct sock_kind *kind, PyObject **places, PyObject *name,
              PyObject *value)
{
    for (uint32_t i = 0; i < kind->most; i++) {
        if (PyUnicode_CompareWithASCIIString(name, kind->parameters[i]) != 0) {
            continue;
        }
        if (places[i] != NULL) {
            return refuse_arguments(kind, "got multiple values for argument",
                                    kind->parameters[i]);
        }
        places[i] = value;
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "EventLoop.%s() got an unexpected keyword argument '%U'", kind->name,
                 name);
    return -1;
}

/* Borrowed arguments into their places, as a Python function would. -1: TypeError. */
static int
place_arguments(const struct sock_kind *kind, PyObject **places, PyObject *const *args,
                Py_ssize_t count, PyObject *keywords)
{
    if (count > (Py_ssize_t)kind->most) {
        PyErr_Format(PyExc_TypeError,
                     "EventLoop.%s() takes %u positional arguments but %zd were given",
                     kind->name, kind->most + 1, count + 1);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        places[i] = args[i];
    }
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    for (Py_ssize_t i = 0; i < named; i++) {
        if (place_keyword(kind, places, PyTuple_GET_ITEM(keywords, i),
                          args[count + i]) < 0) {
            return -1;
        }
    }
    for (uint32_t i = 0; i < kind->required; i++) {
        if (places[i] == NULL) {
            return refuse_arguments(kind, "missing required argument",
                                    kind->parameters[i]);
        }
    }
    return 0;
}

/* --- the methods of the loop --------------------------------------------------------------------------- */

static inline PyObject *
call_make(enum sock_method method, PyObject *loop, PyObject *const *args,
          Py_ssize_t count, PyObject *keywords)
{
    PyObject *places[SOCK_ARGS] = {NULL};
    const struct sock_kind *kind = &sock_kinds[method];
    bool is_plain = keywords == NULL && count == (Py_ssize_t)kind->required;
    if (LIKELY(is_plain)) {
        memcpy(places, args, (size_t)count * sizeof(*args));
    } else if (place_arguments(kind, places, args, count, keywords) < 0) {
        return NULL;
    }
    struct sock_call *self = call_new(method);
    if (UNLIKELY(self == NULL)) {
        return NULL;
    }
    for (size_t i = 0; i < SOCK_ARGS; i++) {
        self->args[i] = Py_XNewRef(places[i]);
    }
    self->loop = Py_NewRef(loop);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

SOCK_METHOD(sock_recv)
{
    return call_make(SOCK_RECV, loop, args, count, keywords);
}

SOCK_METHOD(sock_recv_into)
{
    return call_make(SOCK_RECV_INTO, loop, args, count, keywords);
}

SOCK_METHOD(sock_recvfrom)
{
    return call_make(SOCK_RECVFROM, loop, args, count, keywords);
}

SOCK_METHOD(sock_recvfrom_into)
{
    return call_make(SOCK_RECVFROM_INTO, loop, args, count, keywords);
}

SOCK_METHOD(sock_sendall)
{
    return call_make(SOCK_SENDALL, loop, args, count, keywords);
}

SOCK_METHOD(sock_sendto)
{
    return call_make(SOCK_SENDTO, loop, args, count, keywords);
}

SOCK_METHOD(sock_accept)
{
    return call_make(SOCK_ACCEPT, loop, args, count, keywords);
}

/* --- the type --------------------------------------------------------------------------------------------- */

static PyObject *
call_get_name(struct awaitable *self, void *which)
{
    size_t method = (size_t)(sock_kind_of(call_of(self)) - sock_kinds);
    return Py_NewRef(call_names[method][which == NULL ? 0 : 1]);
}

static PyObject *
call_repr(struct awaitable *self)
{
    static const char *const states[] = {"not awaited", "running", "waiting", "done"};
    return PyUnicode_FromFormat("<coroutine %U, %s>", call_name(self),
                                states[self->state]);
}

static PyGetSetDef call_getset[] = {
    {"__name__", (getter)call_get_name, NULL, "Name of the loop's method.", NULL},
    {"__qualname__", (getter)call_get_name, NULL, "The same, after its class.", ""},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject SockCall_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.SockCall",
    .tp_doc = "What a socket method of the loop returns, to be awaited once.",
    .tp_basicsize = sizeof(struct sock_call),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)call_dealloc,
    .tp_finalize = (destructor)awaitable_finalize,
    .tp_traverse = (traverseproc)call_traverse,
    .tp_clear = (inquiry)awaitable_clear,
    .tp_as_async = &awaitable_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)awaitable_iternext,
    .tp_repr = (reprfunc)call_repr,
    .tp_methods = awaitable_methods,
    .tp_getset = call_getset,
};

static int
complete_kind(enum sock_method method)
{
    struct sock_kind *kind = &sock_kinds[method];
    bool writes = method == SOCK_SENDALL || method == SOCK_SENDTO;
    kind->source = writes ? &wait_to_write : &wait_to_read;
    kind->awaitable = (struct awaitable_kind){
        .noun = "coroutine",
        .name = call_name,
        .advance = call_advance,
        .leave = call_leave,
        .waiter = call_waiter,
        .future = call_future,
    };
    call_names[method][0] = PyUnicode_InternFromString(kind->name);
    call_names[method][1] = PyUnicode_FromFormat("EventLoop.%s", kind->name);
    return call_names[method][0] == NULL || call_names[method][1] == NULL ? -1 : 0;
}

int
sock_init(PyObject *module)
{
    gettimeout = PyUnicode_InternFromString("gettimeout");
    if (gettimeout == NULL || sock_calls_init() < 0) {
        return -1;
    }
    for (int method = 0; method < SOCK_METHODS_COUNT; method++) {
        if (complete_kind((enum sock_method)method) < 0) {
            return -1;
        }
    }
    return PyModule_AddType(module, &SockCall_Type);
}
