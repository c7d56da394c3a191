/* The classes of asyncio.streams and ours: made at import, compared before they are
 * trusted, given to instances. The module's functions that tests call are here too.
 *
 * A subclass without slots has the layout of its base, so that an instance may change
 * from one to the other. It is made as a class statement makes it, and then given
 * methods in C: a type from a spec would differ in flags on some versions. */
#include "reader.h"

struct stream_names stream_names;

static const char *const reader_relied[] = {
    "__aiter__",      "__anext__",      "_maybe_resume_transport",
    "_wait_for_data", "_wakeup_waiter", "at_eof",
    "exception",      "feed_data",      "feed_eof",
    "read",           "readexactly",    "readline",
    "readuntil",      "set_exception",  NULL,
};
static const char *const writer_relied[] = {"drain", "write", NULL};
static const char *const protocol_relied[] = {"_drain_helper", "_stream_reader",
                                              "data_received", NULL};

struct stream_class reader_class = {.name = "StreamReader", .relied = reader_relied};
struct stream_class writer_class = {.name = "StreamWriter", .relied = writer_relied};
struct stream_class protocol_class = {.name = "StreamReaderProtocol",
                                      .relied = protocol_relied};

/* --- trust ------------------------------------------------------------------------------ */

static bool
functions_are_the_same(const struct stream_class *class)
{
    Py_ssize_t position = 0;
    PyObject *name, *function;
    while (PyDict_Next(class->functions, &position, &name, &function)) {
        PyObject *now = PyObject_GetAttr((PyObject *)class->theirs, name);
        Py_XDECREF(now);
        if (now != function) {
            PyErr_Clear();
            return false;
        }
    }
    return true;
}

bool
stream_class_is_unchanged(struct stream_class *class)
{
    unsigned version = class->theirs->tp_version_tag;
    if (LIKELY(version != 0 && version == class->seen_version)) {
        return true;
    }
    if (!functions_are_the_same(class)) {
        return false;
    }
    class->seen_version = class->theirs->tp_version_tag;
    return true;
}

bool
stream_instance_is_plain(const struct stream_class *class, PyObject *dict,
                         Py_ssize_t usual)
{
    if (LIKELY(PyDict_GET_SIZE(dict) <= usual)) {
        return true;
    }
    Py_ssize_t position = 0;
    PyObject *name;
    while (PyDict_Next(class->functions, &position, &name, NULL)) {
        if (PyDict_Contains(dict, name) != 0) {
            PyErr_Clear();
            return false;
        }
    }
    return true;
}

bool
stream_move_in(const struct stream_class *class, PyObject *object, PyObject *dict,
               PyObject *state)
{
    if (PyDict_SetItem(dict, stream_names.state, state) < 0 ||
        PyObject_SetAttr(object, stream_names.class_, (PyObject *)class->ours) < 0) {
        PyErr_Clear();
        return false;
    }
    if (PyObject_SetAttr(object, stream_names.dict_, dict) < 0) { /* as it was */
        PyErr_Clear();
        (void)PyObject_SetAttr(object, stream_names.class_, (PyObject *)class->theirs);
        PyErr_Clear();
        return false;
    }
    return true;
}

int
stream_describe(PyTypeObject *type, PyGetSetDef *getset, PyObject **key)
{
    if (*key == NULL && (*key = PyUnicode_InternFromString(getset->name)) == NULL) {
        return -1;
    }
    PyObject *descriptor = PyDescr_NewGetSet(type, getset);
    int res =
        descriptor == NULL ? -1 : PyObject_SetAttr((PyObject *)type, *key, descriptor);
    Py_XDECREF(descriptor);
    return res;
}

PyObject *
stream_class_call(const struct stream_class *class, const char *name, PyObject *self,
                  PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    PyObject *function = PyDict_GetItemString(class->functions, name);
    PyObject *method = PyMethod_New(function, self);
    if (method == NULL) {
        return NULL;
    }
    PyObject *res = PyObject_Vectorcall(method, args, (size_t)count, kwnames);
    Py_DECREF(method);
    return res;
}

PyObject *
stream_referent(PyObject *reference)
{
    PyObject *object = NULL;
#if PY_VERSION_HEX >= 0x030d0000
    (void)PyWeakref_GetRef(reference, &object);
#else
    object = PyWeakref_GET_OBJECT(reference);
    object = object == Py_None ? NULL : Py_NewRef(object);
#endif
    return object;
}

/* --- attributes --------------------------------------------------------------------------- */

PyObject *
stream_dict(PyObject *object)
{
    PyObject **slot = _PyObject_GetDictPtr(object);
    if (LIKELY(slot != NULL && *slot != NULL)) {
        return *slot;
    }
    PyErr_NoMemory(); /* an instance of a class of Python has one otherwise */
    return NULL;
}

PyObject *
stream_field(PyObject *dict, PyObject *name)
{
    PyObject *value = PyDict_GetItemWithError(dict, name);
    if (UNLIKELY(value == NULL) && !PyErr_Occurred()) {
        PyErr_Format(PyExc_AttributeError, "stream has no attribute '%U'", name);
    }
    return value;
}

int
stream_flag(PyObject *dict, PyObject *name)
{
    PyObject *value = stream_field(dict, name);
    if (UNLIKELY(value == NULL)) {
        return -1;
    }
    return LIKELY(value == Py_False) ? 0 : PyObject_IsTrue(value);
}

void
raise_object(PyObject *exception)
{
    if (PyExceptionInstance_Check(exception)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    } else if (PyExceptionClass_Check(exception)) {
        PyErr_SetNone(exception);
    } else {
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    }
}

/* --- adoption ------------------------------------------------------------------------------- */

/* What the protocol has of its reader: a weak reference. New; NULL. */
static PyObject *
reference_of(PyObject *protocol)
{
    PyObject *method = PyObject_GetAttr(protocol, stream_names.data_received);
    bool usual =
        method != NULL && PyMethod_Check(method) &&
        PyMethod_GET_FUNCTION(method) ==
            PyDict_GetItem(protocol_class.functions, stream_names.data_received);
    Py_XDECREF(method);
    PyObject *reference =
        usual ? PyObject_GetAttr(protocol, stream_names.stream_reader_wr) : NULL;
    if (reference != NULL && !PyWeakref_CheckRefExact(reference)) {
        Py_CLEAR(reference);
    }
    return reference;
}

/* The feeder of the reader, which becomes one of ours unless it is one. New; NULL. */
static PyObject *
adopt_reader(PyObject *reference)
{
    PyObject *reader = stream_referent(reference);
    struct reader_state *state = NULL;
    if (reader != NULL &&
        (Py_TYPE(reader) == reader_class.ours ||
         (Py_TYPE(reader) == reader_class.theirs &&
          stream_class_is_unchanged(&reader_class) && reader_state_move_in(reader)))) {
        state = reader_state_of(reader);
    }
    PyObject *feeder = NULL;
    if (state != NULL) {
        Py_XSETREF(state->reference, Py_NewRef(reference));
        feeder = reader_state_feeder(state);
    }
    Py_XDECREF(reader);
    return feeder;
}

PyObject *
reader_adopt(PyObject *protocol)
{
    if (Py_TYPE(protocol) != protocol_class.theirs || reader_class.ours == NULL ||
        !stream_class_is_unchanged(&protocol_class)) {
        return NULL;
    }
    PyObject *reference = reference_of(protocol);
    PyObject *feeder = reference == NULL ? NULL : adopt_reader(reference);
    Py_XDECREF(reference);
    if (feeder != NULL && writer_class.ours != NULL) {
        writer_expect(protocol);
    }
    PyErr_Clear();
    return feeder;
}

PyObject *
native_adopt_stream(PyObject *module, PyObject *protocol)
{
    (void)module;
    PyObject *feeder = reader_adopt(protocol);
    return feeder == NULL ? Py_NewRef(Py_None) : feeder;
}

PyObject *
native_feed_stream(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *feeder;
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "O!y*", &Feeder_Type, &feeder, &data)) {
        return NULL;
    }
    int res = reader_feed(feeder, data.buf, data.len);
    PyBuffer_Release(&data);
    return res < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- import ------------------------------------------------------------------------------------ */

/* 1: noted; 0: it is not asyncio's any more. -1: exception. */
static int
note_function(const struct stream_class *class, const char *name)
{
    PyObject *function = PyObject_GetAttrString((PyObject *)class->theirs, name);
    PyObject *module = NULL;
    int res = -1;
    if (function == NULL) {
        return -1;
    }
    if (PyFunction_Check(function)) {
        module = PyObject_GetAttrString(function, "__module__");
        if (module == NULL) {
            goto done;
        }
        if (!PyUnicode_Check(module) ||
            PyUnicode_CompareWithASCIIString(module, "asyncio.streams") != 0) {
            res = 0;
            goto done;
        }
    }
    res = PyDict_SetItemString(class->functions, name, function) < 0 ? -1 : 1;
done:
    Py_XDECREF(module);
    Py_DECREF(function);
    return res;
}

/* 1, 0, -1 as above, for all that is relied on. */
static int
class_find(struct stream_class *class, PyObject *streams)
{
    PyObject *theirs = PyObject_GetAttrString(streams, class->name);
    if (theirs == NULL || !PyType_Check(theirs)) {
        Py_XDECREF(theirs);
        return theirs == NULL ? -1 : 0;
    }
    Py_XSETREF(class->theirs, (PyTypeObject *)theirs);
    Py_XSETREF(class->functions, PyDict_New());
    int res = class->functions == NULL ? -1 : 1;
    for (const char *const *name = class->relied; res > 0 && *name != NULL; name++) {
        res = note_function(class, *name);
    }
    return res;
}

static int
add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    for (PyMethodDef *method = methods; method->ml_name != NULL; method++) {
        PyObject *descriptor = PyDescr_NewMethod(type, method);
        int res =
            descriptor == NULL
                ? -1
                : PyObject_SetAttrString((PyObject *)type, method->ml_name, descriptor);
        Py_XDECREF(descriptor);
        if (res < 0) {
            return -1;
        }
    }
    return 0;
}

static int
class_derive(struct stream_class *class, PyObject *module, PyMethodDef *methods)
{
    PyObject *type = PyObject_CallFunction(
        (PyObject *)&PyType_Type, "s(O){s:(),s:s,s:s}", class->name, class->theirs,
        "__slots__", "__module__", "syslet_loop._native", "__doc__",
        "asyncio's class with its busiest methods in C.");
    if (type == NULL || add_methods((PyTypeObject *)type, methods) < 0 ||
        PyModule_AddObjectRef(module, class->name, type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    class->ours = (PyTypeObject *)type;
    return 0;
}

static int
intern_stream_names(void)
{
    static const struct {
        PyObject **slot;
        const char *text;
    } table[] = {
#define NAME(slot, text) {&stream_names.slot, text}
        NAME(args, "args"),
        NAME(cancelled, "cancelled"),
        NAME(class_, "__class__"),
        NAME(client_connected_cb, "_client_connected_cb"),
        NAME(close, "close"),
        NAME(connection_lost, "_connection_lost"),
        NAME(consumed, "consumed"),
        NAME(create_future, "create_future"),
        NAME(data_received, "data_received"),
        NAME(dict_, "__dict__"),
        NAME(drain_helper, "_drain_helper"),
        NAME(exception, "exception"),
        NAME(feed_data, "feed_data"),
        NAME(is_closing, "is_closing"),
        NAME(partial, "partial"),
        NAME(pause_reading, "pause_reading"),
        NAME(paused, "_paused"),
        NAME(protocol, "_protocol"),
        NAME(reader, "_reader"),
        NAME(resume_reading, "resume_reading"),
        NAME(set_exception, "set_exception"),
        NAME(set_result, "set_result"),
        NAME(state, "_syslet_state"),
        NAME(stream_reader_wr, "_stream_reader_wr"),
        NAME(throw_, "throw"),
        NAME(transport, "_transport"),
        NAME(write, "write"),
#undef NAME
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(table); i++) {
        if (*table[i].slot == NULL) {
            *table[i].slot = PyUnicode_InternFromString(table[i].text);
        }
        if (*table[i].slot == NULL) {
            return -1;
        }
    }
    return 0;
}

/* Somebody who changed asyncio's classes before us keeps them as they are. */
int
streams_init(PyObject *module)
{
    PyObject *streams = PyImport_ImportModule("asyncio.streams");
    int res = streams == NULL || intern_stream_names() < 0 ? -1 : 1;
    res = res > 0 ? class_find(&protocol_class, streams) : res;
    res = res > 0 ? class_find(&writer_class, streams) : res;
    res = res > 0 ? class_find(&reader_class, streams) : res;
    Py_XDECREF(streams);
    if (res <= 0) {
        return res;
    }
    return class_derive(&reader_class, module, reader_methods) < 0 ||
                   class_derive(&writer_class, module, writer_methods) < 0 ||
                   reader_state_describe(reader_class.ours) < 0 ||
                   writer_state_describe(writer_class.ours) < 0 ||
                   PyModule_AddType(module, &ReaderState_Type) < 0 ||
                   PyModule_AddType(module, &WriterState_Type) < 0 ||
                   PyModule_AddType(module, &Feeder_Type) < 0 ||
                   PyModule_AddType(module, &Reading_Type) < 0 || readops_init() < 0 ||
                   reader_init() < 0
               ? -1
               : 0;
}
