/* The StopIteration that carries an awaitable's result; awaitable.c and
 * reading.c are the users.
 *
 * From 3.12 on the interpreter takes results of awaitables out of a StopIteration. One
 * is used again and again while nobody else holds it: making it costs more than a
 * cached system call. */
#include "module.h"

static PyObject *stop; /* owned; NULL: in somebody's hands, or none yet */

static bool
stop_is_fresh(const PyObject *exception)
{
    const PyStopIterationObject *object = (const PyStopIterationObject *)exception;
    return Py_REFCNT(exception) == 1 && object->traceback == NULL &&
           object->context == NULL && object->cause == NULL && object->dict == NULL;
}

void
stop_iteration_forget(void)
{
    if (stop != NULL && Py_REFCNT(stop) == 1) {
        Py_CLEAR(((PyStopIterationObject *)stop)->value);
    }
}

/* Objects that hold no others and little memory: it does not matter when they go. */
static bool
may_linger(PyObject *value)
{
    return PyLong_CheckExact(value) ||
           (PyBytes_CheckExact(value) && PyBytes_GET_SIZE(value) <= SCRATCH_BYTES_MAX);
}

void
stop_with(PyObject *value)
{
    if (value == Py_None) {
        Py_DECREF(value); /* no exception at all means a StopIteration of None */
        return;
    }
    if (!may_linger(value)) {
        PyObject *once = PyObject_CallOneArg(PyExc_StopIteration, value);
        Py_DECREF(value);
        if (once != NULL) {
            exception_raise(once);
        }
        return;
    }
    if (UNLIKELY(stop == NULL || !stop_is_fresh(stop))) {
        Py_XSETREF(stop, PyObject_CallNoArgs(PyExc_StopIteration));
        if (stop == NULL) {
            Py_DECREF(value);
            return;
        }
    }
    Py_XSETREF(((PyStopIterationObject *)stop)->value, value);
    exception_raise(Py_NewRef(stop));
}
