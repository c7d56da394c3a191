/* The state of a StreamReader of ours, as a structure.
 *
 * It replaces the eight attributes that asyncio's __init__ sets: looking them up is most
 * of what a read costs otherwise. The class has descriptors with their names, so that
 * `reader._buffer` or asyncio's own functions find and change the same values. An
 * instance keeps its state in its dictionary, because an instance that changes its
 * class must not change its size. */
#include "reader.h"

#include <math.h>

/* --- limits ----------------------------------------------------------------------------- */

/* The largest size that does not exceed the number. */
static Py_ssize_t
floor_of(double number)
{
    if (!(number < (double)PY_SSIZE_T_MAX)) { /* not a number exceeds nothing as well */
        return PY_SSIZE_T_MAX;
    }
    return number < -1.0 ? -1 : (Py_ssize_t)floor(number);
}

static int
set_limit(struct reader_state *self, PyObject *limit)
{
    if (PyLong_Check(limit)) {
        int overflow;
        long long value = PyLong_AsLongLongAndOverflow(limit, &overflow);
        if (overflow > 0 || value > PY_SSIZE_T_MAX / 2) {
            value = PY_SSIZE_T_MAX / 2;
        } else if (overflow < 0 || value < 0) {
            value = -1;
        }
        self->limit_floor = (Py_ssize_t)value;
        self->limit_twice = value < 0 ? -1 : (Py_ssize_t)(2 * value);
    } else {
        double value = PyFloat_AsDouble(limit);
        if (value == -1.0 && PyErr_Occurred()) {
            return -1;
        }
        self->limit_floor = floor_of(value);
        self->limit_twice = floor_of(2 * value);
    }
    Py_XSETREF(self->limit, Py_NewRef(limit));
    return 0;
}

/* --- attributes --------------------------------------------------------------------------- */

enum field {
    FIELD_BUFFER,
    FIELD_EOF,
    FIELD_EXCEPTION,
    FIELD_LIMIT,
    FIELD_LOOP,
    FIELD_PAUSED,
    FIELD_TRANSPORT,
    FIELD_WAITER,
    FIELDS,
};

static const char *const field_names[FIELDS] = {
    "_buffer", "_eof",    "_exception", "_limit",
    "_loop",   "_paused", "_transport", "_waiter",
};
static PyObject *field_keys[FIELDS]; /* owned for ever: interned */

static PyObject **
slot_of(struct reader_state *self, enum field field)
{
    switch (field) {
    case FIELD_EXCEPTION:
        return &self->exception;
    case FIELD_LOOP:
        return &self->loop;
    case FIELD_TRANSPORT:
        return &self->transport;
    default:
        return &self->waiter;
    }
}

static PyObject *
field_get(struct reader_state *self, enum field field)
{
    switch (field) {
    case FIELD_BUFFER:
        return Py_NewRef((PyObject *)self->buffer);
    case FIELD_EOF:
        return PyBool_FromLong(self->eof);
    case FIELD_PAUSED:
        return PyBool_FromLong(self->paused);
    case FIELD_LIMIT:
        return Py_NewRef(self->limit);
    default:
        return Py_NewRef(*slot_of(self, field));
    }
}

static int
set_flag(bool *flag, PyObject *value)
{
    int truth = PyObject_IsTrue(value);
    *flag = truth > 0;
    return truth < 0 ? -1 : 0;
}

static int
field_set(struct reader_state *self, enum field field, PyObject *value)
{
    switch (field) {
    case FIELD_BUFFER:
        if (!PyByteArray_CheckExact(value)) {
            PyErr_SetString(PyExc_TypeError, "_buffer must be a bytearray");
            return -1;
        }
        Py_SETREF(self->buffer, (PyByteArrayObject *)Py_NewRef(value));
        return 0;
    case FIELD_EOF:
        return set_flag(&self->eof, value);
    case FIELD_PAUSED:
        return set_flag(&self->paused, value);
    case FIELD_LIMIT:
        return set_limit(self, value);
    default:
        Py_SETREF(*slot_of(self, field), Py_NewRef(value));
        return 0;
    }
}

static PyObject *
reader_field_get(PyObject *reader, void *field)
{
    struct reader_state *state = reader_state_of(reader);
    return state == NULL ? NULL : field_get(state, (enum field)(uintptr_t)field);
}

static int
reader_field_set(PyObject *reader, PyObject *value, void *field)
{
    struct reader_state *state = reader_state_of(reader);
    if (state == NULL) {
        return -1;
    }
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a stream's state cannot be deleted");
        return -1;
    }
    Py_INCREF(state); /* a value that is asked what it is may take the reader apart */
    int res = field_set(state, (enum field)(uintptr_t)field, value);
    Py_DECREF(state);
    return res;
}

static PyGetSetDef field_getset[FIELDS]; /* of the class, for ever */

int
reader_state_describe(PyTypeObject *type)
{
    for (uintptr_t i = 0; i < FIELDS; i++) {
        field_getset[i] = (PyGetSetDef){
            .name = field_names[i],
            .get = reader_field_get,
            .set = reader_field_set,
            .closure = (void *)i,
        };
        if (stream_describe(type, &field_getset[i], &field_keys[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

static struct reader_state *
state_new(void)
{
    struct reader_state *self = PyObject_GC_New(struct reader_state, &ReaderState_Type);
    if (self == NULL) {
        return NULL;
    }
    self->buffer = (PyByteArrayObject *)PyByteArray_FromStringAndSize(NULL, 0);
    self->exception = Py_NewRef(Py_None);
    self->loop = Py_NewRef(Py_None);
    self->transport = Py_NewRef(Py_None);
    self->waiter = Py_NewRef(Py_None);
    self->limit = PyLong_FromLong(0);
    self->reference = NULL;
    self->feeder = NULL;
    self->limit_floor = self->limit_twice = 0;
    self->eof = self->paused = self->patched = false;
    PyObject_GC_Track(self);
    if (self->buffer == NULL || self->limit == NULL) {
        Py_CLEAR(self);
    }
    return self;
}

static int
state_traverse(struct reader_state *self, visitproc visit, void *arg)
{
    Py_VISIT(self->exception);
    Py_VISIT(self->loop);
    Py_VISIT(self->transport);
    Py_VISIT(self->waiter);
    return 0;
}

/* What is left can still be used. */
static int
state_clear(struct reader_state *self)
{
    Py_SETREF(self->exception, Py_NewRef(Py_None));
    Py_SETREF(self->loop, Py_NewRef(Py_None));
    Py_SETREF(self->transport, Py_NewRef(Py_None));
    Py_SETREF(self->waiter, Py_NewRef(Py_None));
    return 0;
}

static void
state_dealloc(struct reader_state *self)
{
    PyObject_GC_UnTrack(self);
    if (self->feeder != NULL) {
        self->feeder->state = NULL;
        Py_DECREF(self->feeder);
    }
    Py_XDECREF(self->buffer);
    Py_XDECREF(self->limit);
    Py_XDECREF(self->reference);
    Py_DECREF(self->exception);
    Py_DECREF(self->loop);
    Py_DECREF(self->transport);
    Py_DECREF(self->waiter);
    PyObject_GC_Del(self);
}

PyTypeObject ReaderState_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.ReaderState",
    .tp_doc = "What a StreamReader knows; a transport feeds it.",
    .tp_basicsize = sizeof(struct reader_state),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)state_dealloc,
    .tp_traverse = (traverseproc)state_traverse,
    .tp_clear = (inquiry)state_clear,
};

PyTypeObject Feeder_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Feeder",
    .tp_doc = "How a transport reaches a StreamReader.",
    .tp_basicsize = sizeof(struct feeder),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)PyObject_Free,
};

PyObject *
reader_state_feeder(struct reader_state *state)
{
    if (state->feeder == NULL) {
        state->feeder = PyObject_New(struct feeder, &Feeder_Type);
        if (state->feeder == NULL) {
            return NULL;
        }
        state->feeder->state = state;
    }
    return Py_NewRef((PyObject *)state->feeder);
}

struct reader_state *
reader_state_make(PyObject *dict)
{
    struct reader_state *self = state_new();
    int res = self == NULL ? -1 : 0;
    if (res == 0) {
        res = PyDict_SetItem(dict, stream_names.state, (PyObject *)self);
        Py_DECREF(self);
    }
    return res < 0 ? NULL : self;
}

/* --- adoption ---------------------------------------------------------------------------------- */

/* Moves the attributes from a dictionary of asyncio's into a state. NULL, perhaps with
 * an exception: they are not what asyncio's __init__ sets. */
static struct reader_state *
state_from(PyObject *dict)
{
    struct reader_state *self = state_new();
    for (int i = 0; self != NULL && i < FIELDS; i++) {
        PyObject *value = PyDict_GetItemWithError(dict, field_keys[i]);
        if (value == NULL || field_set(self, (enum field)i, value) < 0 ||
            PyDict_DelItem(dict, field_keys[i]) < 0) {
            Py_CLEAR(self);
        }
    }
    return self;
}

bool
reader_state_move_in(PyObject *reader)
{
    PyObject *before = stream_dict(reader);
    PyObject *dict = before == NULL ? NULL : PyDict_Copy(before);
    struct reader_state *state = dict == NULL ? NULL : state_from(dict);
    if (state != NULL) { /* what is left in the dictionary is the program's */
        state->patched = !stream_instance_is_plain(&reader_class, dict, 0);
    }
    bool done =
        state != NULL && stream_move_in(&reader_class, reader, dict, (PyObject *)state);
    PyErr_Clear();
    Py_XDECREF(state);
    Py_XDECREF(dict);
    return done;
}
