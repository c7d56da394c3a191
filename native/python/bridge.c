/* From an executor's future to one of the loop: what asyncio.wrap_future does.
 *
 * One object stands for asyncio's chain of closures. It is the callback of both futures
 * and of the loop: called with the executor's future, mostly in a worker thread, it has
 * itself called in the loop; called there without arguments it hands over the result;
 * called with the loop's future it cancels the other one if that was cancelled. Whatever
 * is not a plain result is left to asyncio's own functions. */
#include "loop.h"

#include <stddef.h>

struct bridge {
    PyObject_HEAD PyObject *loop; /* owned, all three; NULL: handed over */
    PyObject *source;             /* a concurrent.futures.Future */
    PyObject *future;             /* the loop's */
    vectorcallfunc call;
};

static PyTypeObject Bridge_Type;
static struct { /* owned for ever: made at import */
    PyObject *state, *result, *exception, *finished;
    PyObject *add_done_callback, *cancel, *cancelled, *call_soon_threadsafe;
    PyObject *create_future;
} words;

/* --- handing over ---------------------------------------------------------------------- */

static PyObject *
copy_state(struct bridge *self)
{
    static PyObject *copy; /* owned for ever */
    PyObject *function =
        module_attribute(&copy, "asyncio.futures", "_copy_future_state");
    PyObject *args[] = {self->source, self->future};
    return function == NULL ? NULL : PyObject_Vectorcall(function, args, 2, NULL);
}

/* The result of a future that ended well, a new reference; NULL without an exception:
 * it did not, or its class has its own idea of a result. */
static PyObject *
plain_result(PyObject *source)
{
    static PyObject *type; /* owned for ever */
    if ((PyObject *)Py_TYPE(source) !=
        module_attribute(&type, "concurrent.futures", "Future")) {
        return NULL;
    }
    PyObject *state = PyObject_GetAttr(source, words.state);
    PyObject *exception = PyObject_GetAttr(source, words.exception);
    PyObject *result = NULL;
    if (state != NULL && exception == Py_None && PyUnicode_Check(state) &&
        PyUnicode_Compare(state, words.finished) == 0) {
        result = PyObject_GetAttr(source, words.result);
    }
    Py_XDECREF(state);
    Py_XDECREF(exception);
    return result;
}

static bool
is_true(PyObject *object, PyObject *method)
{
    PyObject *res = PyObject_CallMethodNoArgs(object, method);
    bool truth = res == Py_True;
    Py_XDECREF(res);
    return truth;
}

static PyObject *
hand_over(struct bridge *self)
{
    PyObject *result =
        is_true(self->future, names.done) ? NULL : plain_result(self->source);
    PyObject *res = NULL;
    if (result != NULL) {
        res = PyObject_CallMethodOneArg(self->future, names.set_result, result);
        Py_DECREF(result);
    } else {
        PyErr_Clear();
        res = copy_state(self);
    }
    Py_CLEAR(self->source);
    Py_CLEAR(self->future);
    Py_CLEAR(self->loop);
    return res;
}

/* --- being called ------------------------------------------------------------------------ */

static PyObject *
source_is_done(struct bridge *self)
{
    struct core *core = loop_core_checked(self->loop);
    if (core == NULL) {
        return NULL;
    }
    if (core->closed) {
        Py_RETURN_NONE; /* nobody waits any more */
    }
    return PyObject_CallMethodOneArg(self->loop, words.call_soon_threadsafe,
                                     (PyObject *)self);
}

static PyObject *
future_is_done(struct bridge *self)
{
    if (!is_true(self->future, words.cancelled)) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    PyObject *res = PyObject_CallMethodNoArgs(self->source, words.cancel);
    Py_XDECREF(res);
    return res == NULL ? NULL : Py_NewRef(Py_None);
}

static PyObject *
bridge_call(PyObject *callable, PyObject *const *args, size_t nargsf,
            PyObject *keywords)
{
    struct bridge *self = (struct bridge *)callable;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (keywords != NULL || count > 1) {
        PyErr_SetString(PyExc_TypeError, "a bridge takes a future or nothing");
        return NULL;
    }
    if (self->future == NULL) {
        Py_RETURN_NONE;
    }
    Py_INCREF(self);
    PyObject *res = count == 0                ? hand_over(self)
                    : args[0] == self->future ? future_is_done(self)
                                              : source_is_done(self);
    Py_DECREF(self);
    return res;
}

/* --- making it ------------------------------------------------------------------------------ */

static int
add_callback(PyObject *future, PyObject *callback)
{
    PyObject *res =
        PyObject_CallMethodOneArg(future, words.add_done_callback, callback);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* loop._wrap(source): a future of the loop with the executor's result. */
PyObject *
loop_wrap(PyObject *loop, PyObject *source)
{
    PyObject *future = PyObject_CallMethodNoArgs(loop, words.create_future);
    struct bridge *self =
        future == NULL ? NULL : PyObject_GC_New(struct bridge, &Bridge_Type);
    if (self == NULL) {
        Py_XDECREF(future);
        return NULL;
    }
    self->call = bridge_call;
    self->loop = Py_NewRef(loop);
    self->source = Py_NewRef(source);
    self->future = Py_NewRef(future);
    PyObject_GC_Track(self);
    int res = add_callback(future, (PyObject *)self);
    if (res == 0) {
        res = add_callback(source, (PyObject *)self);
    }
    Py_DECREF(self);
    if (res < 0) {
        Py_CLEAR(future);
    }
    return future;
}

/* --- life ------------------------------------------------------------------------------------ */

static int
bridge_traverse(struct bridge *self, visitproc visit, void *arg)
{
    Py_VISIT(self->loop);
    Py_VISIT(self->source);
    Py_VISIT(self->future);
    return 0;
}

static int
bridge_clear(struct bridge *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->source);
    Py_CLEAR(self->future);
    return 0;
}

static void
bridge_dealloc(struct bridge *self)
{
    PyObject_GC_UnTrack(self);
    (void)bridge_clear(self);
    PyObject_GC_Del(self);
}

static PyTypeObject Bridge_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Bridge",
    .tp_doc = "The callback that takes an executor's result to the loop.",
    .tp_basicsize = sizeof(struct bridge),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)bridge_dealloc,
    .tp_traverse = (traverseproc)bridge_traverse,
    .tp_clear = (inquiry)bridge_clear,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(struct bridge, call),
};

int
bridge_init(PyObject *module)
{
    const struct {
        PyObject **word;
        const char *text;
    } table[] = {
        {&words.state, "_state"},
        {&words.result, "_result"},
        {&words.exception, "_exception"},
        {&words.finished, "FINISHED"},
        {&words.add_done_callback, "add_done_callback"},
        {&words.cancel, "cancel"},
        {&words.cancelled, "cancelled"},
        {&words.call_soon_threadsafe, "call_soon_threadsafe"},
        {&words.create_future, "create_future"},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(table); i++) {
        *table[i].word = PyUnicode_InternFromString(table[i].text);
        if (*table[i].word == NULL) {
            return -1;
        }
    }
    return PyModule_AddType(module, &Bridge_Type);
}
