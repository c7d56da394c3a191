/* Handle and TimerHandle: what call_soon and call_later return, and how they are run.
 *
 * Both derive from asyncio's classes and keep their fields in asyncio's slots, so every
 * program that looks into a handle sees what it expects. Made by the loop only, from
 * free lists. What is said about a callback that failed is in reports.py. */
#include "loop.h"

#include <stddef.h>

enum { FREE_MAX = 1024 };

PyTypeObject *Handle_Type;
PyTypeObject *TimerHandle_Type;

static struct handle *free_handles[FREE_MAX]; /* owned: without references or type */
static uint32_t free_handles_count;
static struct timer *free_timers[FREE_MAX];
static uint32_t free_timers_count;
static PyObject *no_args; /* owned for ever */

/* --- making them ------------------------------------------------------------------------ */

static struct handle *
handle_alloc(void)
{
    if (LIKELY(free_handles_count > 0)) {
        struct handle *handle = free_handles[--free_handles_count];
        (void)PyObject_Init((PyObject *)handle, Handle_Type);
        PyObject_GC_Track(handle);
        return handle;
    }
    return (struct handle *)Handle_Type->tp_alloc(Handle_Type, 0);
}

static struct timer *
timer_alloc(void)
{
    if (LIKELY(free_timers_count > 0)) {
        struct timer *timer = free_timers[--free_timers_count];
        (void)PyObject_Init((PyObject *)timer, TimerHandle_Type);
        PyObject_GC_Track(timer);
        return timer;
    }
    return (struct timer *)TimerHandle_Type->tp_alloc(TimerHandle_Type, 0);
}

static PyObject *
args_tuple(PyObject *const *args, Py_ssize_t count)
{
    if (count == 0) {
        return Py_NewRef(no_args);
    }
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    }
    return tuple;
}

/* The handle is complete enough to be freed whatever fails. */
static int
handle_fill(struct handle *handle, PyObject *loop, PyObject *callback,
            PyObject *const *args, Py_ssize_t count, PyObject *context)
{
    handle->callback = Py_NewRef(callback);
    handle->loop = Py_NewRef(loop);
    handle->cancelled = Py_NewRef(Py_False);
    handle->repr = Py_NewRef(Py_None);
    handle->source_traceback = Py_NewRef(Py_None);
    handle->args = args_tuple(args, count);
    handle->context = context != NULL ? Py_NewRef(context) : PyContext_CopyCurrent();
    return handle->args == NULL || handle->context == NULL ? -1 : 0;
}

struct handle *
handle_new(PyObject *loop, PyObject *callback, PyObject *const *args, Py_ssize_t count,
           PyObject *context)
{
    struct handle *handle = handle_alloc();
    if (handle != NULL &&
        handle_fill(handle, loop, callback, args, count, context) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

struct timer *
timer_new(PyObject *loop, PyObject *callback, PyObject *const *args, Py_ssize_t count,
          PyObject *context)
{
    struct timer *timer = timer_alloc();
    if (timer == NULL) {
        return NULL;
    }
    timer->index = TIMER_NOT_SCHEDULED;
    timer->scheduled = Py_NewRef(Py_False);
    if (handle_fill(&timer->base, loop, callback, args, count, context) < 0) {
        Py_CLEAR(timer);
    }
    return timer;
}

int
handle_note_stack(struct handle *handle)
{
    static PyObject *stack; /* owned for ever: syslet_loop.reports.stack */
    PyObject *function = module_attribute(&stack, "syslet_loop.reports", "stack");
    PyObject *found = function == NULL ? NULL : PyObject_CallNoArgs(function);
    if (found == NULL) {
        return -1;
    }
    Py_XSETREF(handle->source_traceback, found);
    return 0;
}

/* --- running them ------------------------------------------------------------------------ */

bool
exception_is_fatal(void)
{
    return PyErr_ExceptionMatches(PyExc_SystemExit) ||
           PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
}

PyObject *
reports(void)
{
    static PyObject *module; /* owned for ever: it is needed when imports are over */
    if (module == NULL) {
        module = PyImport_ImportModule("syslet_loop.reports");
    }
    return module;
}

int
report(const char *name, PyObject *const *args, Py_ssize_t count)
{
    PyObject *module = reports();
    PyObject *function = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    PyObject *res =
        function == NULL ? NULL : PyObject_Vectorcall(function, args, count, NULL);
    Py_XDECREF(function);
    if (res == NULL) {
        return -1;
    }
    Py_DECREF(res);
    return 0;
}

static int
report_failure(struct handle *handle)
{
    if (exception_is_fatal()) {
        return -1;
    }
    PyObject *exception = exception_take();
    PyObject *args[] = {(PyObject *)handle, exception};
    int res = report("callback_failed", args, 2);
    Py_DECREF(exception);
    return res;
}

int
handle_run(struct handle *handle)
{
    PyObject *callback = handle->callback, *args = handle->args;
    PyObject *context = handle->context;
    if (UNLIKELY(callback == NULL || args == NULL || context == NULL ||
                 !PyTuple_Check(args))) {
        PyErr_SetString(PyExc_RuntimeError, "this handle was taken to pieces");
        return report_failure(handle);
    }
    /* The callback may cancel its own handle, which gives these three up. */
    Py_INCREF(callback);
    Py_INCREF(args);
    Py_INCREF(context);
    int entered = PyContext_Enter(context);
    PyObject *res = NULL;
    if (LIKELY(entered == 0)) {
        res = PyObject_Vectorcall(callback, &PyTuple_GET_ITEM(args, 0),
                                  PyTuple_GET_SIZE(args), NULL);
        if (UNLIKELY(PyContext_Exit(context) < 0)) {
            Py_CLEAR(res);
        }
    }
    Py_DECREF(context);
    Py_DECREF(args);
    Py_DECREF(callback);
    if (LIKELY(res != NULL)) {
        Py_DECREF(res);
        return 0;
    }
    return report_failure(handle);
}

static PyObject *
handle_run_method(struct handle *self, PyObject *none)
{
    (void)none;
    if (handle_run(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- the loop of a handle: its slot can be written to by anybody --------------------------- */

static struct core *
core_of(const struct handle *self)
{
    bool ours = self->loop != NULL && PyObject_TypeCheck(self->loop, Loop_Type);
    return ours ? loop_core(self->loop) : NULL;
}

/* --- cancelling ------------------------------------------------------------------------------ */

static int
keep_repr(struct handle *self)
{
    PyObject *repr = PyObject_Repr((PyObject *)self);
    if (repr == NULL) {
        return -1;
    }
    Py_XSETREF(self->repr, repr);
    return 0;
}

static PyObject *
handle_cancel(struct handle *self, PyObject *none)
{
    (void)none;
    if (self->cancelled == Py_True) {
        Py_RETURN_NONE;
    }
    Py_XSETREF(self->cancelled, Py_NewRef(Py_True));
    const struct core *core = core_of(self);
    if (UNLIKELY(core != NULL && core->debug) && keep_repr(self) < 0) {
        return NULL;
    }
    Py_XSETREF(self->callback, Py_NewRef(Py_None));
    Py_XSETREF(self->args, Py_NewRef(Py_None));
    Py_RETURN_NONE;
}

static PyObject *
handle_cancelled(struct handle *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(handle_is_cancelled(self));
}

/* A cancelled timer leaves the heap at once: nobody has to look for them later. */
static PyObject *
timer_cancel(struct timer *self, PyObject *none)
{
    if (self->index == TIMER_NOT_SCHEDULED) {
        return handle_cancel(&self->base, none);
    }
    Py_INCREF(self);
    PyObject *res = handle_cancel(&self->base, none);
    struct core *core = core_of(&self->base);
    if (core != NULL && timers_have(core, self)) {
        timers_remove(core, self);
    }
    Py_DECREF(self);
    return res;
}

static PyObject *
timer_when(struct timer *self, PyObject *none)
{
    (void)none;
    return Py_NewRef(self->when != NULL ? self->when : Py_None);
}

/* --- life ---------------------------------------------------------------------------------------- */

static int
handle_traverse(struct handle *self, visitproc visit, void *arg)
{
    Py_VISIT(self->args);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    Py_VISIT(self->loop);
    Py_VISIT(self->source_traceback);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int
handle_clear(struct handle *self)
{
    Py_CLEAR(self->args);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    Py_CLEAR(self->source_traceback);
    Py_CLEAR(self->loop);
    return 0;
}

static int
timer_traverse(struct timer *self, visitproc visit, void *arg)
{
    Py_VISIT(self->when);
    return handle_traverse(&self->base, visit, arg);
}

static void
handle_empty(struct handle *self)
{
    PyObject_GC_UnTrack(self);
    PyTypeObject *type = Py_TYPE(self); /* from 3.12 on the offset is negative */
    if (UNLIKELY(*(PyObject **)((char *)self + type->tp_weaklistoffset) != NULL)) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    (void)handle_clear(self);
    Py_CLEAR(self->cancelled);
    Py_CLEAR(self->repr);
}

static void
handle_dealloc(struct handle *self)
{
    PyTypeObject *type = Py_TYPE(self);
    handle_empty(self);
    if (free_handles_count < FREE_MAX) {
        free_handles[free_handles_count++] = self;
    } else {
        PyObject_GC_Del(self);
    }
    Py_DECREF(type);
}

static void
timer_dealloc(struct timer *self)
{
    PyTypeObject *type = Py_TYPE(self);
    handle_empty(&self->base);
    Py_CLEAR(self->scheduled);
    Py_CLEAR(self->when);
    if (free_timers_count < FREE_MAX) {
        free_timers[free_timers_count++] = self;
    } else {
        PyObject_GC_Del(self);
    }
    Py_DECREF(type);
}

/* --- the types ------------------------------------------------------------------------------------- */

static PyMethodDef handle_methods[] = {
    {"_run", (PyCFunction)handle_run_method, METH_NOARGS, NULL},
    {"cancel", (PyCFunction)handle_cancel, METH_NOARGS, "Not to be called any more."},
    {"cancelled", (PyCFunction)handle_cancelled, METH_NOARGS,
     "Whether cancel() was called."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, "What call_soon returns; an asyncio.Handle."},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_methods, handle_methods},
    {0, NULL},
};

static PyType_Spec handle_spec = {
    .name = "syslet_loop._native.Handle",
    .basicsize = sizeof(struct handle),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = handle_slots,
};

static PyMethodDef timer_methods[] = {
    {"_run", (PyCFunction)handle_run_method, METH_NOARGS, NULL},
    {"cancel", (PyCFunction)timer_cancel, METH_NOARGS, "Not to be called any more."},
    {"cancelled", (PyCFunction)handle_cancelled, METH_NOARGS,
     "Whether cancel() was called."},
    {"when", (PyCFunction)timer_when, METH_NOARGS,
     "Time of the call, in seconds of the loop's clock."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot timer_slots[] = {
    {Py_tp_doc, "What call_later and call_at return; an asyncio.TimerHandle."},
    {Py_tp_dealloc, timer_dealloc},
    {Py_tp_traverse, timer_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_methods, timer_methods},
    {0, NULL},
};

static PyType_Spec timer_spec = {
    .name = "syslet_loop._native.TimerHandle",
    .basicsize = sizeof(struct timer),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = timer_slots,
};

static const struct {
    const char *name;
    Py_ssize_t offset;
} layout[] = {
    {"_args", offsetof(struct handle, args)},
    {"_callback", offsetof(struct handle, callback)},
    {"_cancelled", offsetof(struct handle, cancelled)},
    {"_context", offsetof(struct handle, context)},
    {"_loop", offsetof(struct handle, loop)},
    {"_repr", offsetof(struct handle, repr)},
    {"_source_traceback", offsetof(struct handle, source_traceback)},
    {"_scheduled", offsetof(struct timer, scheduled)},
    {"_when", offsetof(struct timer, when)},
};

/* Our structures are laid over asyncio's slots: a Python that moves them is refused. */
static int
check_layout(PyObject *base)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(layout); i++) {
        PyObject *slot = PyObject_GetAttrString(base, layout[i].name);
        if (slot == NULL) {
            return -1;
        }
        bool as_expected =
            Py_IS_TYPE(slot, &PyMemberDescr_Type) &&
            ((PyMemberDescrObject *)slot)->d_member->offset == layout[i].offset;
        Py_DECREF(slot);
        if (!as_expected) {
            PyErr_Format(PyExc_ImportError,
                         "asyncio.TimerHandle.%s is not where this build of "
                         "syslet_loop expects it",
                         layout[i].name);
            return -1;
        }
    }
    return 0;
}

static int
make_type(PyTypeObject **type, PyObject *module, PyType_Spec *spec, const char *base)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *from = asyncio == NULL ? NULL : PyObject_GetAttrString(asyncio, base);
    Py_XDECREF(asyncio);
    *type = from == NULL ? NULL
                         : (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, from);
    Py_XDECREF(from);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

int
handles_init(PyObject *module)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *base =
        asyncio == NULL ? NULL : PyObject_GetAttrString(asyncio, "TimerHandle");
    Py_XDECREF(asyncio);
    int res = base == NULL ? -1 : check_layout(base);
    Py_XDECREF(base);
    if (res < 0 || (no_args = PyTuple_New(0)) == NULL ||
        make_type(&Handle_Type, module, &handle_spec, "Handle") < 0) {
        return -1;
    }
    return make_type(&TimerHandle_Type, module, &timer_spec, "TimerHandle");
}
