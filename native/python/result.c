/* Results: from cells to Python objects, and from a failed atom to an exception.
 *
 * A template is evaluated when the flight has landed or at an emit. Descriptors in it
 * change hands last, when nothing can fail any more, so no path loses one. The
 * exception of a failed atom is made by syslet_loop/errors.py; this file only collects
 * what that needs. */
#include "module.h"

static PyObject *
build_bytes(const struct node *node, const uint64_t *cells)
{
    int64_t length = (int64_t)cells[node->second];
    const char *address = (const char *)(uintptr_t)cells[node->first];
    uint64_t bound = node->bound_cell != 0 ? cells[node->bound_cell] : node->bound;
    if (length <= 0 || address == NULL) {
        return PyBytes_FromStringAndSize(NULL, 0);
    }
    if (UNLIKELY((uint64_t)length > bound)) {
        length = (int64_t)bound;
    }
    return PyBytes_FromStringAndSize(address, length);
}

static PyObject *
build_fd(const struct node *node, const uint64_t *cells, struct fd_list *fds)
{
    int64_t value = (int64_t)cells[node->first];
    if (value >= 0 && value <= INT32_MAX && fds->count < FDS_OWNED_MAX) {
        fds->fds[fds->count++] = (int)value;
    }
    return PyLong_FromLongLong(value);
}

static PyObject *
build_tuple(const struct node *node, const struct run *run, struct fd_list *fds)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)node->count);
    for (uint32_t i = 0; tuple != NULL && i < node->count; i++) {
        PyObject *value = node_build(&node->children[i], run, fds);
        if (value == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, value);
        }
    }
    return tuple;
}

static PyObject *
build_list(const struct node *node, const struct run *run, struct fd_list *fds)
{
    PyObject *list = PyList_New((Py_ssize_t)node->count);
    for (uint32_t i = 0; list != NULL && i < node->count; i++) {
        PyObject *value = node_build(&node->children[i], run, fds);
        if (value == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, value);
        }
    }
    return list;
}

static PyObject *
build_dict(const struct node *node, const struct run *run, struct fd_list *fds)
{
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict != NULL && i < node->count; i++) {
        PyObject *value = node_build(&node->children[i], run, fds);
        if (value == NULL ||
            PyDict_SetItem(dict, PyTuple_GET_ITEM(node->object, i), value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *
build_call(const struct node *node, const struct run *run, struct fd_list *fds)
{
    PyObject *arguments = build_tuple(node, run, fds);
    if (arguments == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Call(node->object, arguments, NULL);
    Py_DECREF(arguments);
    return result;
}

PyObject *
node_build(const struct node *node, const struct run *run, struct fd_list *fds)
{
    const uint64_t *cells = flight_cells(run->flight);
    switch (node->kind) {
    case NODE_BYTES:
        return build_bytes(node, cells);
    case NODE_INT:
        return PyLong_FromLongLong((int64_t)cells[node->first]);
    case NODE_FD:
        return build_fd(node, cells, fds);
    case NODE_NONE:
        Py_RETURN_NONE;
    case NODE_PARAM:
        return Py_NewRef(run->args[node->first]);
    case NODE_CONST:
        return Py_NewRef(node->object);
    case NODE_TUPLE:
        return build_tuple(node, run, fds);
    case NODE_LIST:
        return build_list(node, run, fds);
    case NODE_DICT:
        return build_dict(node, run, fds);
    case NODE_CALL:
        return build_call(node, run, fds);
    }
    Py_UNREACHABLE();
}

/* An fd that is not the flight's (the caller's own, or named twice) stays where it is;
 * the list keeps those that changed hands. */
void
fds_take(const struct run *run, struct fd_list *fds)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < fds->count; i++) {
        if (flight_fd_take(run->flight, fds->fds[i]) == 0) {
            fds->fds[kept++] = fds->fds[i];
        }
    }
    fds->count = kept;
}

/* --- failures -------------------------------------------------------------------------- */

static PyObject *failure; /* owned for ever: syslet_loop.errors.failure */

static PyObject *
ran_bytes(const struct run *run)
{
    uint32_t count = plan_atoms_count(run->syslet->plan->plan);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count);
    for (uint32_t i = 0; bytes != NULL && i < count; i++) {
        PyBytes_AS_STRING(bytes)[i] = flight_atom_ran(run->flight, i);
    }
    return bytes;
}

static PyObject *
args_tuple(const struct run *run)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)run->args_count);
    for (uint32_t i = 0; tuple != NULL && i < run->args_count; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(run->args[i]));
    }
    return tuple;
}

PyObject *
run_failure(const struct run *run)
{
    const struct plan_object *plan = run->syslet->plan;
    PyObject *function = module_attribute(&failure, "syslet_loop.errors", "failure");
    if (function == NULL) {
        return NULL;
    }
    Py_ssize_t size = plan_cells_count(plan->plan) * (Py_ssize_t)sizeof(uint64_t);
    const char *image = (const char *)flight_cells(run->flight);
    PyObject *exception = PyObject_CallFunction(
        function, "OILNNN", plan->info, flight_last_atom(run->flight),
        (long long)flight_last_result(run->flight), ran_bytes(run),
        PyBytes_FromStringAndSize(image, size), args_tuple(run));
    if (exception == NULL) {
        return NULL;
    }
    if (!PyExceptionInstance_Check(exception)) {
        PyErr_Format(PyExc_TypeError, "errors.failure gave %R, no exception",
                     exception);
        Py_DECREF(exception);
        return NULL;
    }
    /* Not restored but raised: what is being handled becomes its __context__. */
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return NULL;
}
