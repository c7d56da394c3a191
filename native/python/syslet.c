/* The Syslet type: what users hold, call, map and iterate over.
 *
 * Immutable and bound to no loop. A call only matches arguments with parameters and
 * makes an awaitable; everything else happens when that is awaited. `timeout=` and what
 * is said about a syslet (explain, repr) are Python's business: this file only calls
 * it. */
#include "module.h"

enum { QUEUE_USUAL = 64, LIMIT_USUAL = 64 };

static PyObject *with_timeout; /* owned for ever: syslet_loop.attach.with_timeout */

/* --- keywords of our own ------------------------------------------------------------------ */

struct call {              /* a vectorcall, with some keywords taken out of it */
    PyObject *const *args; /* borrowed */
    Py_ssize_t count;      /* positional */
    PyObject *names;       /* owned, or NULL */
    PyObject **copy;       /* owned, or NULL */
};

static bool
is_param(const struct syslet_object *self, PyObject *name)
{
    const struct plan_object *plan = self->plan;
    for (uint32_t i = 0; i < plan->params_count; i++) {
        if (plan->params[i].name == name ||
            PyUnicode_Compare(plan->params[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void
call_clear(struct call *call)
{
    PyMem_Free(call->copy);
    Py_XDECREF(call->names);
}

/* Takes the keyword `name` out, unless the syslet has a parameter of that name. *value
 * is borrowed from the caller's arguments; NULL: not given. */
static int
call_take(struct call *call, const struct syslet_object *self, PyObject *name,
          PyObject **value)
{
    *value = NULL;
    Py_ssize_t named = call->names == NULL ? 0 : PyTuple_GET_SIZE(call->names);
    Py_ssize_t at = 0;
    while (at < named && PyUnicode_Compare(PyTuple_GET_ITEM(call->names, at), name)) {
        at += 1;
    }
    if (at == named || is_param(self, name)) {
        return 0;
    }
    Py_ssize_t total = call->count + named - 1;
    PyObject **copy = PyMem_Malloc((size_t)(total + 1) * sizeof(PyObject *));
    PyObject *names = PyTuple_New(named - 1);
    if (copy == NULL || names == NULL) {
        PyMem_Free(copy);
        Py_XDECREF(names);
        PyErr_NoMemory();
        return -1;
    }
    *value = call->args[call->count + at];
    for (Py_ssize_t i = 0; i < total; i++) {
        copy[i] = call->args[i < call->count + at ? i : i + 1];
    }
    for (Py_ssize_t i = 0; i < named - 1; i++) {
        PyObject *kept = PyTuple_GET_ITEM(call->names, i < at ? i : i + 1);
        PyTuple_SET_ITEM(names, i, Py_NewRef(kept));
    }
    call_clear(call);
    call->args = call->copy = copy;
    call->names = names;
    return 0;
}

static int
read_count(PyObject *value, const char *name, Py_ssize_t usual, Py_ssize_t *count)
{
    *count = usual;
    if (value == NULL) {
        return 0;
    }
    *count = PyNumber_AsSsize_t(value, PyExc_ValueError);
    if (*count == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (*count < 1 || *count > FLIGHTS_MAX) {
        PyErr_Format(PyExc_ValueError, "%s must be between 1 and %d, not %zd", name,
                     FLIGHTS_MAX, *count);
        return -1;
    }
    return 0;
}

/* --- calling ---------------------------------------------------------------------------------- */

static struct run *
begin(struct syslet_object *self, const struct call *call)
{
    struct run *run = run_new(self);
    if (run != NULL && run_arguments(run, call->args, call->count, call->names) < 0) {
        run_free(run);
        return NULL;
    }
    return run;
}

static int
refuse_emits(const struct syslet_object *self)
{
    if (LIKELY(self->plan->emits_count == 0)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "syslet '%U' emits values: use 'async for ... in %U.events(...)'",
                 self->name, self->name);
    return -1;
}

static PyObject *
limit_time(PyObject *flight, PyObject *seconds)
{
    PyObject *function =
        module_attribute(&with_timeout, "syslet_loop.attach", "with_timeout");
    PyObject *limited = NULL;
    ((struct awaitable *)flight)->is_wrapped = true;
    if (function != NULL) {
        limited = PyObject_CallFunctionObjArgs(function, flight, seconds, NULL);
    }
    if (limited == NULL) { /* nobody will await it any more */
        PyObject *exception = exception_take();
        PyObject *res = PyObject_CallMethod(flight, "close", NULL);
        Py_XDECREF(res);
        exception_raise(exception);
    }
    Py_DECREF(flight);
    return limited;
}

static PyObject *
call_with_names(struct syslet_object *self, PyObject *const *args, Py_ssize_t count,
                PyObject *keywords)
{
    struct call call = {args, count, Py_NewRef(keywords), NULL};
    PyObject *seconds;
    PyObject *flight = NULL;
    if (call_take(&call, self, names.timeout, &seconds) == 0) {
        struct run *run = begin(self, &call);
        flight = run == NULL ? NULL : flight_new(run);
    }
    call_clear(&call);
    if (flight != NULL && seconds != NULL && seconds != Py_None) {
        return limit_time(flight, seconds);
    }
    return flight;
}

static PyObject *
syslet_vectorcall(PyObject *callable, PyObject *const *args, size_t nargsf,
                  PyObject *keywords)
{
    struct syslet_object *self = (struct syslet_object *)callable;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (UNLIKELY(refuse_emits(self) < 0)) {
        return NULL;
    }
    if (UNLIKELY(keywords != NULL)) {
        return call_with_names(self, args, count, keywords);
    }
    struct run *run = run_new(self);
    if (UNLIKELY(run == NULL)) {
        return NULL;
    }
    if (UNLIKELY(run_arguments(run, args, count, NULL) < 0)) {
        run_free(run);
        return NULL;
    }
    return flight_new(run);
}

static PyObject *
syslet_events(struct syslet_object *self, PyObject *const *args, Py_ssize_t count,
              PyObject *keywords)
{
    struct call call = {args, count, Py_XNewRef(keywords), NULL};
    PyObject *queue;
    Py_ssize_t capacity;
    PyObject *events = NULL;
    if (call_take(&call, self, names.queue, &queue) == 0 &&
        read_count(queue, "queue", QUEUE_USUAL, &capacity) == 0) {
        struct run *run = begin(self, &call);
        events = run == NULL ? NULL : events_new(run, capacity);
    }
    call_clear(&call);
    return events;
}

static PyObject *
syslet_map(struct syslet_object *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "limit", "return_exceptions", "ordered", NULL};
    PyObject *iterable, *limit = NULL;
    int return_exceptions = 0, ordered = 0;
    struct map_options options;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$Opp:map", keywords, &iterable,
                                     &limit, &return_exceptions, &ordered) ||
        read_count(limit, "limit", LIMIT_USUAL, &options.limit) < 0 ||
        refuse_emits(self) < 0) {
        return NULL;
    }
    options.return_exceptions = return_exceptions;
    options.ordered = ordered;
    return map_new(self, iterable, &options);
}

/* --- what is said about it ------------------------------------------------------------------ */

static PyObject *
syslet_explain(struct syslet_object *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"format", NULL};
    const char *format = "text";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|s:explain", keywords, &format)) {
        return NULL;
    }
    PyObject *info = self->plan->info;
    return PyObject_CallMethod(info, "explain", "s", format);
}

static PyObject *
syslet_repr(struct syslet_object *self)
{
    PyObject *info = self->plan->info;
    return PyObject_CallMethodOneArg(info, names.describe, self->name);
}

static PyObject *
syslet_itself(struct syslet_object *self, PyObject *memo)
{
    (void)memo;
    return Py_NewRef(self);
}

static PyObject *
syslet_reduce(struct syslet_object *self, PyObject *none)
{
    (void)none;
    return Py_NewRef(self->qualname); /* found again by its name, like a function */
}

static PyObject *
syslet_signature(struct syslet_object *self, void *closure)
{
    (void)closure;
    return PyObject_GetAttr(self->plan->info, names.signature);
}

static PyObject *
syslet_info(struct syslet_object *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->plan->info);
}

static PyObject *
syslet_wrapped(struct syslet_object *self, void *closure)
{
    (void)closure;
    return PyObject_GetAttr(self->plan->info, names.function);
}

/* --- the type ---------------------------------------------------------------------------------- */

static PyObject *
syslet_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"plan", "name", "doc", "module", "qualname", NULL};
    PyObject *plan, *name, *doc, *module, *qualname;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!UOOU:Syslet", keywords,
                                     &Plan_Type, &plan, &name, &doc, &module,
                                     &qualname)) {
        return NULL;
    }
    struct syslet_object *self = (struct syslet_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = syslet_vectorcall;
    self->plan = (struct plan_object *)Py_NewRef(plan);
    self->name = Py_NewRef(name);
    self->doc = Py_NewRef(doc);
    self->module = Py_NewRef(module);
    self->qualname = Py_NewRef(qualname);
    return (PyObject *)self;
}

/* Made of older things only, like a plan: no tp_clear is needed. */
static int
syslet_traverse(struct syslet_object *self, visitproc visit, void *arg)
{
    Py_VISIT(self->plan);
    Py_VISIT(self->doc);
    Py_VISIT(self->module);
    return 0;
}

static void
syslet_dealloc(struct syslet_object *self)
{
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    Py_XDECREF(self->plan);
    Py_XDECREF(self->name);
    Py_XDECREF(self->doc);
    Py_XDECREF(self->module);
    Py_XDECREF(self->qualname);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef syslet_methods[] = {
    {"events", (PyCFunction)(void (*)(void))syslet_events,
     METH_FASTCALL | METH_KEYWORDS,
     "events(*args, queue=64, **kwargs)\n\nAn asynchronous iterator over the values it "
     "emits.\n\nThe arguments are the syslet's. At most `queue` values wait to be "
     "received; the\nflight pauses meanwhile. `aclose()` ends it."},
    {"map", (PyCFunction)(void (*)(void))syslet_map, METH_VARARGS | METH_KEYWORDS,
     "map(iterable, /, *, limit=64, return_exceptions=False, ordered=False)\n\n"
     "An asynchronous iterator over pairs (item, result), `limit` flights at once.\n\n"
     "An item is one argument, or a tuple of them. Pairs come as they are ready, or "
     "in\n"
     "the order of the items if `ordered`. With `return_exceptions` an exception is a\n"
     "result; without, the first one is raised and ends it."},
    {"explain", (PyCFunction)(void (*)(void))syslet_explain,
     METH_VARARGS | METH_KEYWORDS,
     "explain(format='text')\n\nThe graph, as 'text', as 'dot' for graphviz, or as an\n"
     "'svg' picture. Raises ValueError for another format."},
    {"__copy__", (PyCFunction)syslet_itself, METH_NOARGS, "Itself: it is immutable."},
    {"__deepcopy__", (PyCFunction)syslet_itself, METH_O, "Itself: it is immutable."},
    {"__reduce__", (PyCFunction)syslet_reduce, METH_NOARGS, "Its qualified name."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef syslet_members[] = {
    {"plan", T_OBJECT, offsetof(struct syslet_object, plan), READONLY,
     "The compiled program."},
    {"__name__", T_OBJECT, offsetof(struct syslet_object, name), READONLY, NULL},
    {"__doc__", T_OBJECT, offsetof(struct syslet_object, doc), READONLY, NULL},
    {"__module__", T_OBJECT, offsetof(struct syslet_object, module), READONLY, NULL},
    {"__qualname__", T_OBJECT, offsetof(struct syslet_object, qualname), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef syslet_getset[] = {
    {"info", (getter)syslet_info, NULL, "What the compiler knows about it.", NULL},
    {"__signature__", (getter)syslet_signature, NULL, NULL, NULL},
    {"__wrapped__", (getter)syslet_wrapped, NULL, "The function it is made from.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Syslet_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Syslet",
    .tp_basicsize = sizeof(struct syslet_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_IMMUTABLETYPE,
    .tp_vectorcall_offset = offsetof(struct syslet_object, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_new = syslet_new,
    .tp_dealloc = (destructor)syslet_dealloc,
    .tp_traverse = (traverseproc)syslet_traverse,
    .tp_weaklistoffset = offsetof(struct syslet_object, weakrefs),
    .tp_repr = (reprfunc)syslet_repr,
    .tp_methods = syslet_methods,
    .tp_members = syslet_members,
    .tp_getset = syslet_getset,
};
