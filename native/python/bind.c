/* Binding: a call's arguments to the values of cells, and to the leases behind them.
 *
 * First the arguments are matched with the parameters, with the messages of a Python
 * function; that happens at the call. Then each is converted by its kind, when the
 * syslet starts: numbers become values, memory is pinned, paths are encoded. No flight
 * exists yet, so any Python code may run here and any error is harmless. */
#include "module.h"

#include <fcntl.h>
#include <string.h>

/* --- matching arguments with parameters --------------------------------------------- */

static int
refuse_count(const struct run *run, Py_ssize_t given)
{
    const struct plan_object *plan = run->syslet->plan;
    const char *s = plan->params_count == 1 ? "" : "s";
    const char *were = given == 1 ? "was" : "were";
    if (plan->required == plan->params_count) {
        PyErr_Format(PyExc_TypeError,
                     "%U() takes %u positional argument%s but %zd %s given",
                     run->syslet->name, plan->params_count, s, given, were);
    } else {
        PyErr_Format(PyExc_TypeError,
                     "%U() takes from %u to %u positional arguments but %zd %s given",
                     run->syslet->name, plan->required, plan->params_count, given,
                     were);
    }
    return -1;
}

static int
match_name(struct run *run, PyObject *name, PyObject *value)
{
    const struct plan_object *plan = run->syslet->plan;
    for (uint32_t i = 0; i < plan->params_count; i++) {
        PyObject *own = plan->params[i].name;
        if (own != name && PyUnicode_Compare(own, name) != 0) {
            continue;
        }
        if (run->args[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%U() got multiple values for argument '%U'",
                         run->syslet->name, name);
            return -1;
        }
        run->args[i] = Py_NewRef(value);
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%U() got an unexpected keyword argument '%U'",
                 run->syslet->name, name);
    return -1;
}

static int
refuse_missing(const struct run *run, uint32_t missing)
{
    const struct plan_object *plan = run->syslet->plan;
    PyObject *text = NULL;
    uint32_t left = missing;
    for (uint32_t i = 0; i < plan->params_count && left != 0; i++) {
        if (run->args[i] != NULL) {
            continue;
        }
        const char *glue = text == NULL ? "" : left > 1 ? ", " : " and ";
        PyObject *longer =
            text == NULL
                ? PyUnicode_FromFormat("'%U'", plan->params[i].name)
                : PyUnicode_FromFormat("%U%s'%U'", text, glue, plan->params[i].name);
        Py_XDECREF(text);
        text = longer;
        if (text == NULL) {
            return -1;
        }
        left -= 1;
    }
    PyErr_Format(PyExc_TypeError, "%U() missing %u required argument%s: %U",
                 run->syslet->name, missing, missing == 1 ? "" : "s", text);
    Py_XDECREF(text);
    return -1;
}

static int
fill_in_defaults(struct run *run)
{
    const struct plan_object *plan = run->syslet->plan;
    uint32_t missing = 0;
    for (uint32_t i = 0; i < plan->params_count; i++) {
        if (run->args[i] == NULL && plan->params[i].fallback == NULL) {
            missing += 1;
        }
    }
    if (missing != 0) {
        return refuse_missing(run, missing);
    }
    for (uint32_t i = 0; i < plan->params_count; i++) {
        if (run->args[i] == NULL) {
            run->args[i] = Py_NewRef(plan->params[i].fallback);
        }
    }
    return 0;
}

int
run_arguments(struct run *run, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    const struct plan_object *plan = run->syslet->plan;
    if (UNLIKELY(count > (Py_ssize_t)plan->params_count)) {
        return refuse_count(run, count);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        run->args[i] = Py_NewRef(args[i]);
    }
    run->args_count = (uint32_t)count;
    if (LIKELY(count == (Py_ssize_t)plan->params_count && names == NULL)) {
        return 0;
    }
    while (run->args_count < plan->params_count) {
        run->args[run->args_count++] = NULL;
    }
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t i = 0; i < named; i++) {
        if (match_name(run, PyTuple_GET_ITEM(names, i), args[count + i]) < 0) {
            return -1;
        }
    }
    return fill_in_defaults(run);
}

/* --- converting by kind ----------------------------------------------------------------- */

/* "parameter 'size' of syslet 'read_file' <text>, not <type>" */
static int
refuse_type(const struct run *run, const struct param *param, const char *text,
            PyObject *value)
{
    PyErr_Format(PyExc_TypeError, "parameter '%U' of syslet '%U' %s, not %s",
                 param->name, run->syslet->name, text, Py_TYPE(value)->tp_name);
    return -1;
}

static int
refuse_value(PyObject *type, const struct run *run, const struct param *param,
             const char *text)
{
    PyErr_Format(type, "parameter '%U' of syslet '%U' %s", param->name,
                 run->syslet->name, text);
    return -1;
}

/* Steals `value`: it is lent with the flight. */
static PyObject *
keep(struct run *run, PyObject *value)
{
    run->kept[run->kept_count++] = value;
    return value;
}

static int
bind_wide_int(const struct run *run, const struct param *param, PyObject *value,
              uint64_t *cells)
{
    cells[0] = PyLong_AsUnsignedLongLong(value);
    if (cells[0] == UINT64_MAX && PyErr_Occurred()) {
        PyErr_Clear();
        return refuse_value(PyExc_OverflowError, run, param, "does not fit in 64 bits");
    }
    return 0;
}

static int
bind_int(const struct run *run, const struct param *param, PyObject *value,
         uint64_t *cells)
{
    if (UNLIKELY(!PyLong_Check(value))) {
        if (!PyIndex_Check(value)) {
            return refuse_type(run, param, "must be an integer", value);
        }
        PyObject *number = PyNumber_Index(value);
        if (number == NULL) {
            return -1;
        }
        int res = bind_int(run, param, number, cells);
        Py_DECREF(number);
        return res;
    }
    int overflow;
    cells[0] = (uint64_t)PyLong_AsLongLongAndOverflow(value, &overflow);
    if (UNLIKELY(overflow != 0)) {
        return bind_wide_int(run, param, value, cells);
    }
    return 0;
}

static int
bind_fd(const struct run *run, const struct param *param, PyObject *value,
        uint64_t *cells)
{
    PyObject *number = NULL;
    if (UNLIKELY(!PyLong_Check(value))) {
        number = PyObject_CallMethodNoArgs(value, names.fileno);
        if (number == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            return refuse_type(run, param, "must be a descriptor or have fileno()",
                               value);
        }
        if (number == NULL) {
            return -1;
        }
        if (!PyLong_Check(number)) {
            Py_DECREF(number);
            return refuse_type(run, param, "must have a fileno() that gives an integer",
                               value);
        }
        value = number;
    }
    int overflow;
    long fd = PyLong_AsLongAndOverflow(value, &overflow);
    Py_XDECREF(number);
    if (UNLIKELY(overflow != 0 || fd > INT32_MAX || (fd < 0 && fd != AT_FDCWD))) {
        return refuse_value(PyExc_ValueError, run, param, "is no descriptor");
    }
    cells[0] = (uint64_t)(int64_t)fd;
    return 0;
}

static int
bind_bytes_path(PyObject *bytes, uint64_t *cells)
{
    const char *text = PyBytes_AS_STRING(bytes);
    if (UNLIKELY(strlen(text) != (size_t)PyBytes_GET_SIZE(bytes))) {
        PyErr_SetString(PyExc_ValueError, "embedded null byte");
        return -1;
    }
    cells[0] = (uintptr_t)text;
    return 0;
}

/* ASCII text is its own encoding and ends with a null: it is lent in place. */
static int
bind_path(struct run *run, const struct param *param, PyObject *value, uint64_t *cells)
{
    if (UNLIKELY(!PyUnicode_Check(value) && !PyBytes_Check(value))) {
        if (PyObject_CheckBuffer(value) || PyLong_Check(value)) {
            return refuse_type(run, param, "must be str, bytes or os.PathLike", value);
        }
        PyObject *path = PyOS_FSPath(value);
        if (path == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear();
            return refuse_type(run, param, "must be str, bytes or os.PathLike", value);
        }
        if (path == NULL) {
            return -1;
        }
        value = keep(run, path);
    }
    if (LIKELY(PyUnicode_Check(value) && PyUnicode_IS_COMPACT_ASCII(value))) {
        const char *text = PyUnicode_DATA(value);
        if (UNLIKELY(strlen(text) != (size_t)PyUnicode_GET_LENGTH(value))) {
            PyErr_SetString(PyExc_ValueError, "embedded null byte");
            return -1;
        }
        cells[0] = (uintptr_t)text;
        return 0;
    }
    if (PyUnicode_Check(value)) {
        PyObject *encoded = PyUnicode_EncodeFSDefault(value);
        if (encoded == NULL) {
            return -1;
        }
        if (run->kept_count != 0 && run->kept[run->kept_count - 1] == value) {
            run->kept_count -= 1; /* __fspath__'s: the encoded one replaces it */
            Py_DECREF(value);
        }
        value = keep(run, encoded);
    }
    return bind_bytes_path(value, cells);
}

/* --- memory ------------------------------------------------------------------------------- */

static PyObject *cffi_cdata, *cffi_buffer; /* owned for ever; NULL: not yet needed */

/* cffi's objects have memory but no buffer protocol. 1: *view is one of it; 0: this is
 * something else; -1: an exception is set. */
static int
view_cffi(PyObject *value, PyObject **view)
{
    const char *type = Py_TYPE(value)->tp_name;
    if (strncmp(type, "_cffi_backend.", 14) != 0) {
        return 0;
    }
    PyObject *cdata = module_attribute(&cffi_cdata, "_cffi_backend", "_CDataBase");
    PyObject *buffer = module_attribute(&cffi_buffer, "_cffi_backend", "buffer");
    if (cdata == NULL || buffer == NULL) {
        return -1;
    }
    int res = PyObject_IsInstance(value, cdata);
    if (res <= 0) {
        return res;
    }
    *view = PyObject_CallOneArg(buffer, value);
    return *view == NULL ? -1 : 1;
}

static int
refuse_memory(const struct run *run, const struct param *param, PyObject *value)
{
    bool writable = param->kind == PARAM_WRITABLE;
    if (writable && PyObject_CheckBuffer(value)) {
        return refuse_type(run, param, "needs writable memory", value);
    }
    return refuse_type(run, param, "must be a bytes-like object", value);
}

static int
check_least(const struct run *run, const struct param *param, uint64_t length)
{
    if (LIKELY(length >= param->least)) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError,
                 "parameter '%U' of syslet '%U' needs at least %llu bytes, not %llu",
                 param->name, run->syslet->name, (unsigned long long)param->least,
                 (unsigned long long)length);
    return -1;
}

static int
bind_memory(struct run *run, const struct param *param, PyObject *value,
            uint64_t *cells)
{
    if (LIKELY(PyBytes_CheckExact(value) && param->kind == PARAM_READABLE)) {
        cells[0] = (uintptr_t)PyBytes_AS_STRING(value); /* the reference pins it */
        cells[1] = (uint64_t)PyBytes_GET_SIZE(value);
        return check_least(run, param, cells[1]);
    }
    if (UNLIKELY(!PyObject_CheckBuffer(value))) {
        PyObject *view;
        int res = view_cffi(value, &view);
        if (res <= 0) {
            return res < 0 ? -1 : refuse_memory(run, param, value);
        }
        value = keep(run, view);
    }
    int flags = param->kind == PARAM_WRITABLE ? PyBUF_WRITABLE : PyBUF_SIMPLE;
    Py_buffer *view = &run->views[run->views_count];
    if (PyObject_GetBuffer(value, view, flags) < 0) {
        Py_buffer readable;
        PyObject *exception = exception_take();
        bool is_readable = flags == PyBUF_WRITABLE &&
                           PyObject_GetBuffer(value, &readable, PyBUF_SIMPLE) == 0;
        if (is_readable) {
            PyBuffer_Release(&readable);
            Py_DECREF(exception);
            return refuse_memory(run, param, value);
        }
        exception_raise(exception);
        return -1;
    }
    run->views_count += 1;
    cells[0] = (uintptr_t)view->buf;
    cells[1] = (uint64_t)view->len;
    return check_least(run, param, cells[1]);
}

/* --- times --------------------------------------------------------------------------------- */

static int
bind_timeout(const struct run *run, const struct param *param, PyObject *value,
             uint64_t *cells)
{
    if (!PyFloat_Check(value) && !PyIndex_Check(value) &&
        !(Py_TYPE(value)->tp_as_number && Py_TYPE(value)->tp_as_number->nb_float)) {
        return refuse_type(run, param, "must be a number of seconds", value);
    }
    double seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds >= 0.0)) {
        return refuse_value(PyExc_ValueError, run, param, "must not be negative");
    }
    if (seconds > 9e9) { /* nanoseconds in 63 bits: the kernel's own limit */
        return refuse_value(PyExc_OverflowError, run, param, "is too long a time");
    }
    cells[0] = (uint64_t)seconds;
    cells[1] = (uint64_t)((seconds - (double)cells[0]) * 1e9 + 0.5);
    if (cells[1] >= 1000000000) {
        cells[0] += 1;
        cells[1] = 0;
    }
    return 0;
}

static int
bind_one(struct run *run, const struct param *param, PyObject *value, uint64_t *cells)
{
    switch (param->kind) {
    case PARAM_INT:
        return bind_int(run, param, value, cells);
    case PARAM_FD:
        return bind_fd(run, param, value, cells);
    case PARAM_PATH:
        return bind_path(run, param, value, cells);
    case PARAM_READABLE:
    case PARAM_WRITABLE:
        return bind_memory(run, param, value, cells);
    case PARAM_TIMEOUT:
        return bind_timeout(run, param, value, cells);
    case PARAM_OBJECT:
        return 0;
    }
    Py_UNREACHABLE();
}

int
run_bind(struct run *run)
{
    const struct plan_object *plan = run->syslet->plan;
    for (uint32_t i = 0; i < plan->params_count; i++) {
        const struct param *param = &plan->params[i];
        PyObject *value = run->args[i];
        uint64_t *cells = &run->values[2 * i];
        if (UNLIKELY(param->convert != NULL)) {
            value = PyObject_CallOneArg(param->convert, value);
            if (value == NULL) {
                return -1;
            }
            keep(run, value);
        }
        cells[0] = cells[1] = 0;
        if (UNLIKELY(bind_one(run, param, value, cells) < 0)) {
            return -1;
        }
    }
    return 0;
}
