/* The state of a StreamWriter of ours, as a structure: see readerstate.c.
 *
 * Beside asyncio's five attributes it has what drain() would have to look for in the
 * reader and the protocol each time. */
#include "reader.h"

#include <stddef.h>

/* --- attributes ------------------------------------------------------------------------- */

enum { FIELDS = 5 };

static const struct {
    const char *name;
    size_t offset;
} fields[FIELDS] = {
    {"_complete_fut", offsetof(struct writer_state, complete)},
    {"_loop", offsetof(struct writer_state, loop)},
    {"_protocol", offsetof(struct writer_state, protocol)},
    {"_reader", offsetof(struct writer_state, reader)},
    {"_transport", offsetof(struct writer_state, transport)},
};
static PyObject *field_keys[FIELDS]; /* owned for ever: interned */

static inline PyObject **
slot_of(struct writer_state *self, size_t field)
{
    return (PyObject **)((char *)self + fields[field].offset);
}

/* What belongs to the reader and the protocol that it has now. */
static void
look_around(struct writer_state *self)
{
    PyObject *state = NULL;
    if (Py_TYPE(self->reader) == reader_class.ours) {
        state = Py_XNewRef((PyObject *)reader_state_of(self->reader));
    }
    Py_XSETREF(self->reader_state, (struct reader_state *)state);
    PyObject *dict = Py_TYPE(self->protocol) == protocol_class.theirs
                         ? stream_dict(self->protocol)
                         : NULL;
    self->protocol_fields = dict == NULL ? -1 : PyDict_GET_SIZE(dict);
    PyErr_Clear();
}

static PyObject *
writer_field_get(PyObject *writer, void *field)
{
    struct writer_state *state = writer_state_of(writer);
    return state == NULL ? NULL : Py_NewRef(*slot_of(state, (size_t)field));
}

static int
writer_field_set(PyObject *writer, PyObject *value, void *field)
{
    struct writer_state *state = writer_state_of(writer);
    if (state == NULL) {
        return -1;
    }
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a stream's state cannot be deleted");
        return -1;
    }
    Py_INCREF(state); /* the end of what was there may take the writer apart */
    Py_SETREF(*slot_of(state, (size_t)field), Py_NewRef(value));
    look_around(state);
    Py_DECREF(state);
    return 0;
}

static PyGetSetDef field_getset[FIELDS]; /* of the class, for ever */

int
writer_state_describe(PyTypeObject *type)
{
    for (size_t i = 0; i < FIELDS; i++) {
        field_getset[i] = (PyGetSetDef){
            .name = fields[i].name,
            .get = writer_field_get,
            .set = writer_field_set,
            .closure = (void *)i,
        };
        if (stream_describe(type, &field_getset[i], &field_keys[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

/* --- life ----------------------------------------------------------------------------------- */

static struct writer_state *
state_new(void)
{
    struct writer_state *self = PyObject_GC_New(struct writer_state, &WriterState_Type);
    if (self == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < FIELDS; i++) {
        *slot_of(self, i) = Py_NewRef(Py_None);
    }
    self->reader_state = NULL;
    self->protocol_fields = -1;
    PyObject_GC_Track(self);
    return self;
}

static int
state_traverse(struct writer_state *self, visitproc visit, void *arg)
{
    for (size_t i = 0; i < FIELDS; i++) {
        Py_VISIT(*slot_of(self, i));
    }
    Py_VISIT(self->reader_state);
    return 0;
}

/* What is left can still be used. */
static int
state_clear(struct writer_state *self)
{
    for (size_t i = 0; i < FIELDS; i++) {
        Py_SETREF(*slot_of(self, i), Py_NewRef(Py_None));
    }
    Py_CLEAR(self->reader_state);
    self->protocol_fields = -1;
    return 0;
}

static void
state_dealloc(struct writer_state *self)
{
    PyObject_GC_UnTrack(self);
    for (size_t i = 0; i < FIELDS; i++) {
        Py_DECREF(*slot_of(self, i));
    }
    Py_XDECREF(self->reader_state);
    PyObject_GC_Del(self);
}

PyTypeObject WriterState_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.WriterState",
    .tp_doc = "What a StreamWriter knows.",
    .tp_basicsize = sizeof(struct writer_state),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)state_dealloc,
    .tp_traverse = (traverseproc)state_traverse,
    .tp_clear = (inquiry)state_clear,
};

struct writer_state *
writer_state_make(PyObject *dict)
{
    struct writer_state *self = state_new();
    int res = self == NULL ? -1 : 0;
    if (res == 0) {
        res = PyDict_SetItem(dict, stream_names.state, (PyObject *)self);
        Py_DECREF(self);
    }
    return res < 0 ? NULL : self;
}

bool
writer_state_move_in(PyObject *writer)
{
    PyObject *before = stream_dict(writer);
    PyObject *dict = before == NULL ? NULL : PyDict_Copy(before);
    struct writer_state *self = dict == NULL ? NULL : state_new();
    for (size_t i = 0; self != NULL && i < FIELDS; i++) {
        PyObject *value = Py_XNewRef(PyDict_GetItemWithError(dict, field_keys[i]));
        if (value == NULL || PyDict_DelItem(dict, field_keys[i]) < 0) {
            Py_XDECREF(value);
            Py_CLEAR(self);
        } else {
            Py_SETREF(*slot_of(self, i), value);
        }
    }
    bool done = false;
    if (self != NULL) {
        look_around(self);
        done = stream_move_in(&writer_class, writer, dict, (PyObject *)self);
    }
    PyErr_Clear();
    Py_XDECREF(self);
    Py_XDECREF(dict);
    return done;
}
