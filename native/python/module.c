/* The extension module syslet_loop._native: its names, its tables, small helpers.
 *
 * One interpreter only: free lists and the recycled StopIteration are shared by the
 * whole process, so a second interpreter is refused when it imports. */
#include "loop.h"
#include "reader.h"

struct names names;

/* --- helpers ------------------------------------------------------------------------------- */

PyObject *
module_attribute(PyObject **slot, const char *module, const char *name)
{
    if (LIKELY(*slot != NULL)) {
        return *slot;
    }
    PyObject *imported = PyImport_ImportModule(module);
    if (imported == NULL) {
        return NULL;
    }
    PyObject *attribute = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    if (*slot == NULL) {
        *slot = attribute;
    } else {
        Py_XDECREF(attribute); /* the import ran code that came here first */
    }
    return *slot;
}

void
exception_raise(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030c0000
    PyErr_SetRaisedException(exception);
#else
    PyObject *type = Py_NewRef((PyObject *)Py_TYPE(exception));
    PyErr_Restore(type, exception, PyException_GetTraceback(exception));
#endif
}

PyObject *
exception_take(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* --- tables --------------------------------------------------------------------------------- */

static PyObject *
op_dict(uint32_t index)
{
    struct op_info info;
    ops_get(index, &info);
    return Py_BuildValue("{s:s,s:I,s:s,s:C,s:s,s:s,s:O,s:O,s:O}", "name", info.name,
                         "nr", info.nr, "args", info.args, "result", (int)info.result,
                         "inline_form", info.inline_form, "ring_form", info.ring_form,
                         "may_block", info.may_block ? Py_True : Py_False, "waits",
                         info.waits ? Py_True : Py_False, "inline_only",
                         info.inline_only ? Py_True : Py_False);
}

static PyObject *
native_ops(PyObject *module, PyObject *none)
{
    (void)module;
    (void)none;
    PyObject *list = PyList_New(ops_count());
    for (uint32_t i = 0; list != NULL && i < ops_count(); i++) {
        PyObject *row = op_dict(i);
        if (row == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, row);
        }
    }
    return list;
}

static const struct {
    const char *name;
    long value;
} limits[] = {
#define LIMIT(name) {#name, name}
    LIMIT(ATOMS_MAX),        LIMIT(CELLS_MAX),          LIMIT(BUFFERS_MAX),
    LIMIT(RELOCS_MAX),       LIMIT(ARGS_MAX),           LIMIT(CONSTS_BYTES_MAX),
    LIMIT(FDS_OWNED_MAX),    LIMIT(SCRATCH_BYTES_MAX),  LIMIT(HEAP_BYTES_MAX),
    LIMIT(FLIGHTS_MAX),      LIMIT(FLIGHTS_POOLED_MAX), LIMIT(SQ_ENTRIES),
    LIMIT(CQ_ENTRIES),       LIMIT(WORKERS_MAX),        LIMIT(WORKERS_EAGER),
    LIMIT(WORKERS_STUCK_NS), LIMIT(WORKER_STACK_BYTES), LIMIT(WORKER_IDLE_MS),
    LIMIT(CANCEL_RESEND_NS), LIMIT(FLIGHT_ATOMS_MAX),   LIMIT(FLIGHT_BYTES_MAX),
    LIMIT(TURN_ATOMS_MAX),   LIMIT(TURN_BYTES_MAX),     LIMIT(LOCKED_BYTES_MAX),
    LIMIT(TRACE_SPANS_MAX),  LIMIT(WORKER_ATOMS_MAX),   LIMIT(FIXED_MAX),
#undef LIMIT
};

static PyObject *
native_limits(PyObject *module, PyObject *none)
{
    (void)module;
    (void)none;
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < Py_ARRAY_LENGTH(limits); i++) {
        PyObject *value = PyLong_FromLong(limits[i].value);
        if (value == NULL || PyDict_SetItemString(dict, limits[i].name, value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *
native_op_refusal(PyObject *module, PyObject *number)
{
    (void)module;
    unsigned long nr = PyLong_AsUnsignedLong(number);
    if (nr == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (nr > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "no system call has this number");
        return NULL;
    }
    const char *reason = op_refusal((uint32_t)nr);
    return reason == NULL ? Py_NewRef(Py_None) : PyUnicode_FromString(reason);
}

/* --- the module ------------------------------------------------------------------------------ */

/* For reads that end in a bytes object: zeroing a megabyte costs as much as reading
 * it. What is not read into is never shown to anybody. */
static PyObject *
native_runs(PyObject *module, PyObject *none)
{
    (void)module;
    (void)none;
    return PyLong_FromSize_t(runs_count());
}

static PyObject *
native_new_bytes(PyObject *module, PyObject *size)
{
    (void)module;
    Py_ssize_t count = PyNumber_AsSsize_t(size, PyExc_OverflowError);
    if (count == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return PyBytes_FromStringAndSize(NULL, count);
}

static PyMethodDef native_methods[] = {
    {"set_current", native_set_current, METH_O,
     "set_current(engine, /)\n--\n\nThe engine of the loop that now runs in this "
     "thread, or None. Returns the previous one."},
    {"set_attach", native_set_attach, METH_O,
     "set_attach(callable, /)\n--\n\ncallable() gives the engine of a running loop "
     "that "
     "is not ours."},
    {"ops", native_ops, METH_NOARGS, "ops()\n--\n\nThe operations table, as dicts."},
    {"limits", native_limits, METH_NOARGS,
     "limits()\n--\n\nThe engine's limits by name."},
    {"op_refusal", native_op_refusal, METH_O,
     "op_refusal(nr, /)\n--\n\nWhy a system call may not be in a program, or None."},
    {"runs", native_runs, METH_NOARGS,
     "runs()\n--\n\nHow many calls of syslets there are, in the air or not: each may "
     "hold buffers that were lent to it."},
    {"new_bytes", native_new_bytes, METH_O,
     "new_bytes(size, /)\n--\n\nA bytes object with any content, to be read into."},
    {"read_entries", (PyCFunction)(void (*)(void))native_read_entries, METH_FASTCALL,
     "read_entries(data, is_text, /)\n--\n\nName, d_type and inode of each directory "
     "entry."},
    {"sort_entries", (PyCFunction)(void (*)(void))native_sort_entries, METH_FASTCALL,
     "sort_entries(data, is_text, folders, others, /)\n--\n\nAppends the names. False: "
     "of some entry it is not known which it is; the lists have a part."},
    {"adopt_stream", native_adopt_stream, METH_O,
     "adopt_stream(protocol, /)\n--\n\nGive the reader of a StreamReaderProtocol our "
     "class. Returns what feed_stream wants, or None."},
    {"feed_stream", native_feed_stream, METH_VARARGS,
     "feed_stream(feeder, data, /)\n--\n\nAs a transport gives data to the reader."},
    {NULL, NULL, 0, NULL},
};

static int
intern(PyObject **slot, const char *text)
{
    if (*slot == NULL) {
        *slot = PyUnicode_InternFromString(text);
    }
    return *slot == NULL ? -1 : 0;
}

static int
intern_names(void)
{
    return intern(&names.call_soon, "call_soon") | intern(&names.close, "close") |
           intern(&names.describe, "describe") | intern(&names.done, "done") |
           intern(&names.fileno, "fileno") | intern(&names.function, "function") |
           intern(&names.future_loop, "_loop") | intern(&names.loop, "loop") |
           intern(&names.queue, "queue") | intern(&names.set_result, "set_result") |
           intern(&names.signature, "signature") | intern(&names.timeout, "timeout");
}

static int
native_exec(PyObject *module)
{
    static PyTypeObject *const types[] = {
        &Plan_Type,   &Syslet_Type, &Engine_Type, &Flight_Type,      &Step_Type,
        &Events_Type, &Map_Type,    &Core_Type,   &FixedMemory_Type,
    };
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "syslet_loop does not support sub-interpreters");
        return -1;
    }
    if (intern_names() < 0) {
        return -1;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(types); i++) {
        if (PyModule_AddType(module, types[i]) < 0) {
            return -1;
        }
    }
    return handles_init(module) < 0 || loop_init(module) < 0 ||
                   address_init(module) < 0 || sock_init(module) < 0 ||
                   bridge_init(module) < 0 || transports_init(module) < 0 ||
                   streams_init(module) < 0
               ? -1
               : 0;
}

static PyModuleDef_Slot native_slots[] = {
    {Py_mod_exec, native_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "syslet_loop._native",
    .m_doc = "The engine and the awaitables of syslet_loop. Not a public interface.",
    .m_methods = native_methods,
    .m_slots = native_slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&native_module);
}
