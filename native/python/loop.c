/* The type Loop: asyncio's selector loop with its hot half in C.
 *
 * syslet_loop.loop.EventLoop derives from it and adds what happens once per connection
 * or per loop. The attributes that asyncio's code and ours both use are descriptors
 * here, so that no instance needs a dictionary. */
#include "loop.h"
#include "sock.h"
#include "transport.h"

#include <stddef.h>

PyTypeObject *Loop_Type;
Py_ssize_t loop_core_offset;

static PyTypeObject *base_type;         /* owned for ever: asyncio's selector loop */
static PyObject *core_name, *time_name; /* owned for ever, interned */

struct core *
loop_core_checked(PyObject *loop)
{
    if (!PyObject_TypeCheck(loop, Loop_Type)) {
        PyErr_Format(PyExc_TypeError, "a loop of syslet_loop, not %s",
                     Py_TYPE(loop)->tp_name);
        return NULL;
    }
    return loop_core(loop);
}

/* --- futures ---------------------------------------------------------------------------------- */

static PyObject *future_type; /* owned for ever */

PyObject *
loop_create_future(PyObject *loop)
{
    static PyObject *names; /* owned for ever: ("loop",) */
    struct engine_object *engine = loop_core(loop)->engine;
    if (LIKELY(engine != NULL && engine->loop == loop)) {
        return engine_future(engine); /* it keeps the arguments ready */
    }
    PyObject *type = module_attribute(&future_type, "asyncio", "Future");
    if (type == NULL ||
        (names == NULL && (names = Py_BuildValue("(s)", "loop")) == NULL)) {
        return NULL;
    }
    return PyObject_Vectorcall(type, &loop, 0, names);
}

static PyObject *
loop_create_future_method(PyObject *self, PyObject *none)
{
    (void)none;
    return loop_create_future(self);
}

/* asyncio.Future asks whenever one is made. */
static PyObject *
loop_get_debug(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(loop_core(self)->debug);
}

/* --- readers ---------------------------------------------------------------------------------- */

/* One that is closing has given the descriptor up, as asyncio sees it. */
static PyObject *
loop_ensure_no_transport(PyObject *self, PyObject *file)
{
    struct core *core = loop_core(self);
    int fd = file_number(file);
    if (fd < 0) {
        return NULL;
    }
    struct source *holder =
        (uint32_t)fd < core->holders_room ? core->holders[fd] : NULL;
    if (holder != NULL &&
        !transport_is_closing((const struct transport *)holder->object)) {
        PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R",
                     file, holder->object);
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
check_open(PyObject *self)
{
    if (LIKELY(!loop_core(self)->closed)) {
        return 0;
    }
    PyObject *res = PyObject_CallMethod(self, "_check_closed", NULL);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static PyObject *
add_private(PyObject *self, PyObject *const *args, Py_ssize_t count, bool write)
{
    return check_open(self) < 0 ? NULL
                                : readers_add(loop_core(self), args, count, write);
}

static PyObject *
add_public(PyObject *self, PyObject *const *args, Py_ssize_t count, bool write)
{
    PyObject *res = count < 1 ? NULL : loop_ensure_no_transport(self, args[0]);
    if (count >= 1 && res == NULL) {
        return NULL;
    }
    Py_XDECREF(res);
    PyObject *handle = add_private(self, args, count, write);
    if (handle == NULL) {
        return NULL;
    }
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *
remove_private(PyObject *self, PyObject *file, bool write)
{
    if (loop_core(self)->closed) {
        Py_RETURN_FALSE;
    }
    return readers_remove(loop_core(self), file, write);
}

/* The check is skipped for a file that was closed: it has no number any more. */
static PyObject *
remove_public(PyObject *self, PyObject *file, bool write)
{
    PyObject *res = loop_ensure_no_transport(self, file);
    if (res == NULL && !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return NULL;
    }
    PyErr_Clear();
    Py_XDECREF(res);
    return remove_private(self, file, write);
}

static PyObject *
loop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add_public(self, args, count, false);
}

static PyObject *
loop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add_public(self, args, count, true);
}

static PyObject *
loop_add_reader_private(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add_private(self, args, count, false);
}

static PyObject *
loop_add_writer_private(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add_private(self, args, count, true);
}

static PyObject *
loop_remove_reader(PyObject *self, PyObject *file)
{
    return remove_public(self, file, false);
}

static PyObject *
loop_remove_writer(PyObject *self, PyObject *file)
{
    return remove_public(self, file, true);
}

static PyObject *
loop_remove_reader_private(PyObject *self, PyObject *file)
{
    return remove_private(self, file, false);
}

static PyObject *
loop_remove_writer_private(PyObject *self, PyObject *file)
{
    return remove_private(self, file, true);
}

/* asyncio's, which everything that starts something calls. */
static PyObject *
loop_check_closed(PyObject *self, PyObject *none)
{
    (void)none;
    struct core *core = loop_core(self);
    if (UNLIKELY(core->closed)) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    return core_check_process(core) < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- running ------------------------------------------------------------------------------------ */

static PyObject *
loop_run_once(PyObject *self, PyObject *none)
{
    (void)none;
    return core_run(loop_core(self), true);
}

static PyObject *
loop_run_ticks(PyObject *self, PyObject *none)
{
    (void)none;
    return core_run(loop_core(self), false);
}

static PyObject *
loop_reader_of(PyObject *self, PyObject *file)
{
    return readers_of(loop_core(self), file);
}

static PyObject *
loop_need_engine(PyObject *self, PyObject *none)
{
    (void)none;
    return Py_XNewRef(core_engine(loop_core(self)));
}

static PyObject *
loop_write_to_self(PyObject *self, PyObject *none)
{
    (void)none;
    core_wake(loop_core(self));
    Py_RETURN_NONE;
}

/* Watches and readers leave the loop; the engine is closed by Python before. */
static PyObject *
loop_let_go(PyObject *self, PyObject *none)
{
    (void)none;
    struct core *core = loop_core(self);
    sources_lose_all(core);
    readers_clear(core);
    timers_clear(core);
    Py_CLEAR(core->buffer);
    Py_CLEAR(core->small);
    Py_RETURN_NONE;
}

/* --- attributes --------------------------------------------------------------------------------- */

enum flag { FLAG_CLOSED, FLAG_DEBUG, FLAG_STOPPING };

static bool *
flag_of(PyObject *self, void *which)
{
    struct core *core = loop_core(self);
    switch ((enum flag)(intptr_t)which) {
    case FLAG_CLOSED:
        return &core->closed;
    case FLAG_DEBUG:
        return &core->debug;
    case FLAG_STOPPING:
        break;
    }
    return &core->stopping;
}

static PyObject *
loop_get_flag(PyObject *self, void *which)
{
    return PyBool_FromLong(*flag_of(self, which));
}

static int
loop_set_flag(PyObject *self, PyObject *value, void *which)
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    *flag_of(self, which) = truth;
    return 0;
}

static PyObject *
loop_get_ready(PyObject *self, void *closure)
{
    (void)closure;
    return Py_NewRef(loop_core(self));
}

static PyObject *
loop_get_scheduled(PyObject *self, void *closure)
{
    (void)closure;
    struct core *core = loop_core(self);
    PyObject *list = PyList_New(0); /* may run the collector, and timers may go then */
    for (Py_ssize_t i = 0; list != NULL && i < core->timers_count; i++) {
        if (PyList_Append(list, (PyObject *)core->timers[i].timer) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* asyncio's constructor sets empty ones; ours are there already. */
static int
loop_keep_own(PyObject *self, PyObject *value, void *closure)
{
    (void)self;
    (void)value;
    (void)closure;
    return 0;
}

static PyObject *
loop_get_engine(PyObject *self, void *closure)
{
    (void)closure;
    struct core *core = loop_core(self);
    return Py_NewRef(core->engine != NULL ? (PyObject *)core->engine : Py_None);
}

static int
loop_set_engine(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    struct core *core = loop_core(self);
    if (value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "the engine can only be given up");
        return -1;
    }
    Py_CLEAR(core->engine);
    return 0;
}

static PyObject *
loop_get_task_factory(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *factory = loop_core(self)->task_factory;
    return Py_NewRef(factory != NULL ? factory : Py_None);
}

static int
loop_set_task_factory(PyObject *self, PyObject *factory, void *closure)
{
    (void)closure;
    PyObject *kept = factory == Py_None ? NULL : Py_XNewRef(factory);
    Py_XSETREF(loop_core(self)->task_factory, kept);
    return 0;
}

/* A clock of the program's own must move the timers. */
static int
loop_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    if (UNLIKELY(name == core_name)) {
        PyErr_SetString(PyExc_AttributeError, "the core of a loop stays");
        return -1;
    }
    if (UNLIKELY(name == time_name)) {
        loop_core(self)->time_replaced =
            value != NULL || (PyObject *)Py_TYPE(self) != (PyObject *)Loop_Type;
    }
    return PyObject_GenericSetAttr(self, name, value);
}

/* --- life ------------------------------------------------------------------------------------------ */

static bool
overrides_time(PyTypeObject *type)
{
    PyObject *ours = PyDict_GetItemWithError(Loop_Type->tp_dict, time_name);
    return _PyType_Lookup(type, time_name) != ours;
}

/* The core comes first: no loop is ever without one, not even one that is freed here,
 * whose __del__ asks whether it is closed. */
static PyObject *
loop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct core *core = reports() == NULL ? NULL : core_new();
    if (core == NULL) {
        return NULL;
    }
    PyObject *self = base_type->tp_new(type, args, kwargs);
    if (self == NULL) {
        Py_DECREF(core);
        return NULL;
    }
    core->loop = self;
    core->closed = true; /* until asyncio's constructor has set it up */
    core->time_replaced = overrides_time(type);
    *(struct core **)((char *)self + loop_core_offset) = core;
    return self;
}

#define FAST(function) (PyCFunction)(void (*)(void)) function

static PyMethodDef loop_methods[] = {
    {"call_soon", FAST(loop_call_soon), METH_FASTCALL | METH_KEYWORDS,
     "call_soon(callback, *args, context=None)\n--\n\nHave it called in the next "
     "tick."},
    {"call_soon_threadsafe", FAST(loop_call_soon_threadsafe),
     METH_FASTCALL | METH_KEYWORDS,
     "call_soon_threadsafe(callback, *args, context=None)\n--\n\ncall_soon for other "
     "threads."},
    {"call_later", FAST(loop_call_later), METH_FASTCALL | METH_KEYWORDS,
     "call_later(delay, callback, *args, context=None)\n--\n\nHave it called after "
     "`delay` seconds."},
    {"call_at", FAST(loop_call_at), METH_FASTCALL | METH_KEYWORDS,
     "call_at(when, callback, *args, context=None)\n--\n\nHave it called at the time "
     "`when` of the loop's clock, in seconds."},
    {"time", loop_time, METH_NOARGS,
     "time()\n--\n\nThe loop's clock in seconds: time.monotonic()."},
    {"get_debug", loop_get_debug, METH_NOARGS,
     "get_debug()\n--\n\nWhether the loop is in debug mode."},
    {"create_task", FAST(loop_create_task), METH_FASTCALL | METH_KEYWORDS,
     "create_task(coro, *, name=None, context=None)\n--\n\nA new task of this loop."},
    {"create_future", loop_create_future_method, METH_NOARGS,
     "create_future()\n--\n\nA new asyncio.Future of this loop."},
    {"add_reader", FAST(loop_add_reader), METH_FASTCALL,
     "add_reader(fd, callback, *args)\n--\n\nCall it whenever fd is readable."},
    {"add_writer", FAST(loop_add_writer), METH_FASTCALL,
     "add_writer(fd, callback, *args)\n--\n\nCall it whenever fd is writable."},
    {"remove_reader", loop_remove_reader, METH_O,
     "remove_reader(fd)\n--\n\nFalse if there was none."},
    {"remove_writer", loop_remove_writer, METH_O,
     "remove_writer(fd)\n--\n\nFalse if there was none."},
    {"_add_reader", FAST(loop_add_reader_private), METH_FASTCALL, NULL},
    {"_add_writer", FAST(loop_add_writer_private), METH_FASTCALL, NULL},
    {"_remove_reader", loop_remove_reader_private, METH_O, NULL},
    {"_remove_writer", loop_remove_writer_private, METH_O, NULL},
    {"_ensure_fd_no_transport", loop_ensure_no_transport, METH_O, NULL},
    {"_check_closed", loop_check_closed, METH_NOARGS, NULL},
    {"_run_once", loop_run_once, METH_NOARGS, "One tick."},
    {"_run_ticks", loop_run_ticks, METH_NOARGS, "Ticks until stop() was called."},
    {"_reader_of", loop_reader_of, METH_O, "Handles of add_reader and add_writer."},
    {"_need_engine", loop_need_engine, METH_NOARGS, "The engine, made if needed."},
    {"_write_to_self", loop_write_to_self, METH_NOARGS, "End the wait."},
    {"_wrap", loop_wrap, METH_O, "A future of the loop for one of an executor."},
    {"_let_go", loop_let_go, METH_NOARGS, "Forget transports, readers and timers."},
    SOCK_METHODS{NULL, NULL, 0, NULL},
};

static PyGetSetDef loop_getset[] = {
    {"_closed", loop_get_flag, loop_set_flag, NULL, (void *)FLAG_CLOSED},
    {"_debug", loop_get_flag, loop_set_flag, NULL, (void *)FLAG_DEBUG},
    {"_stopping", loop_get_flag, loop_set_flag, NULL, (void *)FLAG_STOPPING},
    {"_ready", loop_get_ready, loop_keep_own, NULL, NULL},
    {"_scheduled", loop_get_scheduled, loop_keep_own, NULL, NULL},
    {"_engine", loop_get_engine, loop_set_engine, NULL, NULL},
    {"_task_factory", loop_get_task_factory, loop_set_task_factory, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef loop_members[] = {
    /* Its offset is set at import. Not READONLY, because subtype_clear and
     * subtype_dealloc pass over such members; loop_setattro refuses it. */
    {"_core", T_OBJECT_EX, 0, 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, "The native half of syslet_loop.EventLoop."},
    {Py_tp_new, loop_new},
    {Py_tp_setattro, loop_setattro},
    {Py_tp_methods, loop_methods},
    {Py_tp_getset, loop_getset},
    {Py_tp_members, loop_members},
    {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "syslet_loop._native.Loop",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, /* the collector: inherited */
    .slots = loop_slots,
};

int
loop_init(PyObject *module)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *base =
        asyncio == NULL ? NULL : PyObject_GetAttrString(asyncio, "SelectorEventLoop");
    Py_XDECREF(asyncio);
    core_name = PyUnicode_InternFromString("_core");
    time_name = PyUnicode_InternFromString("time");
    if (core_name == NULL || base == NULL || schedule_init() < 0 || time_name == NULL ||
        task_init() < 0) {
        return -1;
    }
    base_type = (PyTypeObject *)base;
    loop_core_offset = base_type->tp_basicsize;
    loop_members[0].offset = loop_core_offset;
    loop_spec.basicsize = (int)(loop_core_offset + (Py_ssize_t)sizeof(struct core *));
    Loop_Type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &loop_spec, base);
    return Loop_Type == NULL ? -1 : PyModule_AddType(module, Loop_Type);
}
