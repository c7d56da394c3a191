/* Waiters: the future that somebody waits for in an awaitable, see module.h.
 *
 * Landings and reports wake it from inside the engine's turn or the loop's tick; what
 * the task does then happens later, in the loop. Used by awaitable.c and by the owners
 * of waiters (events.c, map.c, sock.c). */
#include "module.h"

/* A future that is done already was cancelled by its task, which knows. */
void
waiter_wake(struct waiter *waiter, bool closing)
{
    PyObject *future = waiter->future;
    if (future == NULL) {
        return;
    }
    waiter->future = NULL;
    PyObject *res = PyObject_CallMethodOneArg(future, names.set_result, Py_None);
    if (res == NULL) {
        PyObject *exception = exception_take();
        PyObject *done = PyObject_CallMethodNoArgs(future, names.done);
        if (done == Py_True || closing) {
            PyErr_Clear();
            Py_DECREF(exception);
        } else {
            exception_raise(exception);
            PyErr_WriteUnraisable(future);
        }
        Py_XDECREF(done);
    }
    Py_XDECREF(res);
    Py_DECREF(future);
}

bool
waiter_is_taken(const struct waiter *waiter)
{
    if (waiter->future == NULL) {
        return false;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "another task waits for the next value of this iterator");
    return true;
}

void
waiter_drop(struct waiter *waiter, const struct awaitable *holder)
{
    if (waiter->holder == holder) {
        Py_CLEAR(waiter->future);
    }
}
