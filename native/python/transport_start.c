/* How a transport begins: connection_made and the future that waits for it.
 *
 * Used by the types, from their first event. What asyncio schedules as three callbacks
 * is one here; each part happens whatever became of the one before. */
#include "transport.h"

/* The loop's handler is told, as of a callback that raised. */
static int
made_failed(struct transport *self)
{
    if (exception_is_fatal()) {
        return -1;
    }
    PyObject *exception = exception_take();
    PyObject *method =
        PyObject_GetAttr(self->protocol, transport_names.connection_made);
    if (method == NULL) {
        PyErr_Clear();
        method = Py_NewRef(self->protocol);
    }
    PyObject *object = (PyObject *)self;
    struct handle *handle = handle_new(self->loop, method, &object, 1, NULL);
    PyObject *args[] = {(PyObject *)handle, exception};
    int res = handle == NULL ? -1 : report("callback_failed", args, 2);
    Py_XDECREF(handle);
    Py_DECREF(method);
    Py_DECREF(exception);
    return res;
}

int
transport_tell_made(struct transport *self)
{
    if (self->protocol == NULL) {
        return 0;
    }
    PyObject *res =
        protocol_call(self, transport_names.connection_made, (PyObject *)self);
    Py_XDECREF(res);
    return res == NULL ? made_failed(self) : 0;
}

int
transport_tell_waiter(PyObject *waiter)
{
    static PyObject *set_result; /* owned for ever */
    if (waiter == NULL) {
        return 0;
    }
    PyObject *function = module_attribute(&set_result, "asyncio.futures",
                                          "_set_result_unless_cancelled");
    PyObject *res = function == NULL
                        ? NULL
                        : PyObject_CallFunctionObjArgs(function, waiter, Py_None, NULL);
    Py_DECREF(waiter);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}
