/* Traces of an engine in Python's hands: methods of the Engine type.
 *
 * The engine object owns the trace, so that it can be read after the engine is closed.
 * syslet_loop/trace.py makes files of it. */
#include "module.h"

#include <errno.h>

static const char *const kinds[] = {
    [TRACE_FLIGHT] = "flight",
    [TRACE_ATOM] = "atom",
    [TRACE_TICK] = "tick",
    [TRACE_WAIT] = "wait",
};
static const char *const paths[] = {
    [PATH_INLINE] = "inline",
    [PATH_RING] = "ring",
    [PATH_WORKER] = "worker",
};

static PyObject *
label_object(const struct trace_span *span)
{
    return PyUnicode_DecodeUTF8(span->label, (Py_ssize_t)strlen(span->label),
                                "replace");
}

static PyObject *
span_object(const struct trace_span *span)
{
    PyObject *label = label_object(span);
    return label == NULL
               ? NULL
               : Py_BuildValue("(sNzIIIsKKLI)", kinds[span->kind], label, span->op,
                               span->nr, span->atom, span->flight, paths[span->path],
                               (unsigned long long)span->start_ns,
                               (unsigned long long)span->end_ns,
                               (long long)span->result, span->thread);
}

PyObject *
engine_trace_method(struct engine_object *self, PyObject *keeps)
{
    int truth = PyObject_IsTrue(keeps);
    if (truth < 0 || !engine_is_open(self) || !engine_is_mine(self)) {
        return NULL;
    }
    if (self->trace != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "it is being traced");
        return NULL;
    }
    struct trace *trace = trace_new(truth);
    if (trace == NULL) {
        return PyErr_NoMemory();
    }
    int res = engine_trace(self->engine, trace);
    if (res < 0) {
        trace_free(trace);
        errno = -res;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    self->trace = trace;
    Py_RETURN_NONE;
}

PyObject *
engine_take_spans_method(struct engine_object *self, PyObject *none)
{
    (void)none;
    struct trace_span span;
    PyObject *list = PyList_New(0);
    while (list != NULL && self->trace != NULL && trace_take(self->trace, &span)) {
        PyObject *object = span_object(&span);
        if (object == NULL || PyList_Append(list, object) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(object);
    }
    uint64_t dropped = self->trace == NULL ? 0 : trace_dropped(self->trace);
    return list == NULL ? NULL
                        : Py_BuildValue("(NK)", list, (unsigned long long)dropped);
}

PyObject *
engine_take_slowest_method(struct engine_object *self, PyObject *none)
{
    (void)none;
    struct trace_span span;
    if (self->trace == NULL || !trace_take_slowest(self->trace, &span)) {
        Py_RETURN_NONE;
    }
    return span_object(&span);
}
