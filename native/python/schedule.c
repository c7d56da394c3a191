/* Scheduling: call_soon, call_later and their kin, as methods of the type Loop.
 *
 * What they do for one callback is all that the loop costs besides the callback itself,
 * so the common case is a handful of lines; debug mode and errors go asyncio's way. */
#include "loop.h"

#include <math.h>

static PyObject *context_name; /* owned for ever, interned */
/* The names tuple of the caller that came last and was found to be ("context",). Owned:
 * tasks pass the same one each time, with a string that is not interned. */
static PyObject *known_names;

int
schedule_init(void)
{
    context_name = PyUnicode_InternFromString("context");
    return context_name == NULL ? -1 : 0;
}

/* Debug mode and the end of a loop's life: asyncio's own checks. */
static int
check(PyObject *self, struct core *core, PyObject *callback, const char *method,
      bool thread)
{
    PyObject *res = NULL;
    if (core->closed) {
        res = PyObject_CallMethod(self, "_check_closed", NULL);
        if (res == NULL) {
            return -1;
        }
        Py_DECREF(res);
    }
    if (!core->debug) {
        return 0;
    }
    if (thread) {
        res = PyObject_CallMethod(self, "_check_thread", NULL);
        if (res == NULL) {
            return -1;
        }
        Py_DECREF(res);
    }
    res = PyObject_CallMethod(self, "_check_callback", "Os", callback, method);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* The keyword `context`, borrowed; NULL: none or None. -1: another keyword. */
static int
read_context(const char *method, PyObject *const *values, PyObject *names,
             PyObject **context)
{
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    *context = NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (name != context_name &&
            PyUnicode_CompareWithASCIIString(name, "context") != 0) {
            PyErr_Format(PyExc_TypeError,
                         "EventLoop.%s() got an unexpected keyword argument '%U'",
                         method, name);
            return -1;
        }
        *context = values[i] == Py_None ? NULL : values[i];
    }
    if (count == 1) {
        Py_XSETREF(known_names, Py_NewRef(names));
    }
    if (*context != NULL && !PyContext_CheckExact(*context)) {
        PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %R",
                     *context);
        return -1;
    }
    return 0;
}

static int
check_count(const char *method, Py_ssize_t count, Py_ssize_t least)
{
    if (LIKELY(count >= least)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "EventLoop.%s() missing %zd required positional argument%s", method,
                 least - count, least - count == 1 ? "" : "s");
    return -1;
}

static PyObject *
schedule(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names,
         const char *method, bool thread)
{
    struct core *core = loop_core(self);
    PyObject *context = NULL;
    if (check_count(method, count, 1) < 0) {
        return NULL;
    }
    if (LIKELY(names == known_names && names != NULL &&
               PyContext_CheckExact(args[count]))) {
        context = args[count];
    } else if (names != NULL &&
               read_context(method, args + count, names, &context) < 0) {
        return NULL;
    }
    if (UNLIKELY(core->closed || core->debug) &&
        check(self, core, args[0], method, thread) < 0) {
        return NULL;
    }
    struct handle *handle = handle_new(self, args[0], args + 1, count - 1, context);
    if (handle == NULL || (UNLIKELY(core->debug) && handle_note_stack(handle) < 0)) {
        Py_XDECREF(handle);
        return NULL;
    }
    if (UNLIKELY(core_push(core, Py_NewRef(handle)) < 0)) {
        Py_CLEAR(handle);
    }
    return (PyObject *)handle;
}

PyObject *
loop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return schedule(self, args, count, names, "call_soon", true);
}

PyObject *
loop_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    if (core_check_process(loop_core(self)) < 0) {
        return NULL;
    }
    PyObject *handle =
        schedule(self, args, count, names, "call_soon_threadsafe", false);
    if (handle != NULL) {
        core_wake(loop_core(self));
    }
    return handle;
}

/* A timer for the time `when`, which is stolen and may be NULL: an exception is set. */
static PyObject *
schedule_at(PyObject *self, PyObject *when, PyObject *const *args, Py_ssize_t count,
            PyObject *names, const char *method)
{
    struct core *core = loop_core(self);
    PyObject *context = NULL;
    double deadline = when == NULL ? -1.0 : PyFloat_AsDouble(when);
    if (deadline == -1.0 && PyErr_Occurred()) {
        goto fail;
    }
    if (UNLIKELY(isnan(deadline))) { /* it would be neither due nor not */
        PyErr_SetString(PyExc_ValueError, "a time of NaN cannot be waited for");
        goto fail;
    }
    if ((names != NULL && read_context(method, args + count, names, &context) < 0) ||
        (UNLIKELY(core->closed || core->debug) &&
         check(self, core, args[1], "call_at", true) < 0)) {
        goto fail;
    }
    struct timer *timer = timer_new(self, args[1], args + 2, count - 2, context);
    if (timer == NULL) {
        goto fail;
    }
    timer->when = when;
    timer->deadline = deadline;
    if ((UNLIKELY(core->debug) && handle_note_stack(&timer->base) < 0) ||
        timers_push(core, timer) < 0) {
        Py_CLEAR(timer);
    }
    return (PyObject *)timer;
fail:
    Py_XDECREF(when);
    return NULL;
}

PyObject *
loop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (check_count("call_at", count, 2) < 0) {
        return NULL;
    }
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    return schedule_at(self, Py_NewRef(args[0]), args, count, names, "call_at");
}

static PyObject *
time_after(struct core *core, PyObject *delay)
{
    double now = core_time(core);
    if (now == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (LIKELY(PyFloat_CheckExact(delay))) {
        return PyFloat_FromDouble(now + PyFloat_AS_DOUBLE(delay));
    }
    if (PyLong_CheckExact(delay)) { /* as float adds one */
        double seconds = PyLong_AsDouble(delay);
        return seconds == -1.0 && PyErr_Occurred() ? NULL
                                                   : PyFloat_FromDouble(now + seconds);
    }
    PyObject *start = PyFloat_FromDouble(now);
    PyObject *when = start == NULL ? NULL : PyNumber_Add(start, delay);
    Py_XDECREF(start);
    return when;
}

PyObject *
loop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t count,
                PyObject *names)
{
    if (check_count("call_later", count, 2) < 0) {
        return NULL;
    }
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    PyObject *when = time_after(loop_core(self), args[0]);
    return schedule_at(self, when, args, count, names, "call_later");
}

PyObject *
loop_time(PyObject *self, PyObject *none)
{
    (void)none;
    struct core *core = loop_core(self);
    bool replaced = core->time_replaced;
    core->time_replaced = false; /* whoever replaced it may call this one */
    double now = core_time(core);
    core->time_replaced = replaced;
    return PyFloat_FromDouble(now);
}
