/* Which engine a flight belongs to: that of the loop that runs on this thread.
 *
 * Our own loop says so with set_current around its run; for a foreign loop attach.py is
 * asked once per loop and thread. Called by whatever starts a flight. */
#include "module.h"

static _Thread_local struct engine_object *current;  /* owned: of the running loop */
static _Thread_local struct engine_object *attached; /* owned: of a foreign loop */
static PyObject *attach;                             /* owned: Python's set_attach */
static PyObject *get_running_loop;                   /* owned for ever */

static bool
serves(const struct engine_object *engine, const PyObject *loop)
{
    return engine != NULL && engine->loop == loop && engine->engine != NULL &&
           !engine_is_forked(engine->engine);
}

static PyObject *
attach_hook(void)
{
    if (attach == NULL) {
        PyObject *module = PyImport_ImportModule("syslet_loop.attach");
        Py_XDECREF(module);
        if (module == NULL) {
            return NULL;
        }
    }
    if (attach == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no engine: set_attach was not called");
    }
    return attach;
}

/* No engine of ours drives this thread, or a closed or inherited one. */
static struct engine_object *
find_engine(void)
{
    PyObject *function =
        module_attribute(&get_running_loop, "asyncio", "_get_running_loop");
    PyObject *loop = function == NULL ? NULL : PyObject_CallNoArgs(function);
    if (loop == NULL) {
        return NULL;
    }
    struct engine_object *engine = attached;
    bool found = loop != Py_None && serves(engine, loop);
    bool stale = current != NULL && (loop == Py_None || current->loop == loop);
    Py_DECREF(loop);
    if (found) {
        return engine;
    }
    if (stale) {
        engine_is_open(current); /* says why it cannot be used */
        return NULL;
    }
    PyObject *hook = attach_hook();
    PyObject *made = hook == NULL ? NULL : PyObject_CallNoArgs(hook);
    if (made == NULL) {
        return NULL;
    }
    if (!PyObject_TypeCheck(made, &Engine_Type)) {
        PyErr_Format(PyExc_TypeError, "attach gave %R, no engine", made);
        Py_DECREF(made);
        return NULL;
    }
    engine = (struct engine_object *)made;
    if (!engine_is_open(engine) || !engine_is_mine(engine)) {
        Py_DECREF(made);
        return NULL;
    }
    Py_XSETREF(attached, engine);
    return engine;
}

struct engine_object *
engine_current(void)
{
    struct engine_object *engine = current;
    if (LIKELY(engine != NULL && engine->engine != NULL &&
               !engine_is_forked(engine->engine))) {
        return engine;
    }
    return find_engine();
}

PyObject *
native_set_current(PyObject *module, PyObject *engine)
{
    (void)module;
    if (engine != Py_None) {
        if (!PyObject_TypeCheck(engine, &Engine_Type)) {
            return PyErr_Format(PyExc_TypeError, "an Engine or None, not %R", engine);
        }
        if (!engine_is_mine((struct engine_object *)engine)) {
            return NULL;
        }
    }
    PyObject *previous = (PyObject *)current;
    current = engine == Py_None ? NULL : (struct engine_object *)Py_NewRef(engine);
    return previous == NULL ? Py_NewRef(Py_None) : previous;
}

PyObject *
native_set_attach(PyObject *module, PyObject *callable)
{
    (void)module;
    if (!PyCallable_Check(callable)) {
        return PyErr_Format(PyExc_TypeError, "%R cannot be called", callable);
    }
    Py_XSETREF(attach, Py_NewRef(callable));
    Py_RETURN_NONE;
}

void
engine_forget_in_thread(struct engine_object *self)
{
    if (current == self) {
        Py_CLEAR(current);
    }
    if (attached == self) {
        Py_CLEAR(attached);
    }
}
