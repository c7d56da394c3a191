/* FixedMemory: zeroed memory that begins at a page and is registered with the ring of
 * the loop in which it was made, if that has one and the kernel agrees.
 *
 * What a buffer of it lends keeps the object, so the memory is unmapped when no flight
 * and no view uses it any more, in whatever thread. Made by files_direct.py only. */
#include "loop.h"

#include <errno.h>
#include <sys/mman.h>

#include "../engine/fixed.h"

struct fixed_object {
    PyObject_HEAD struct engine_object *engine; /* owned; NULL: not registered */
    void *memory;                               /* owned mapping */
    Py_ssize_t size;
    int index; /* in the engine's table */
};

static bool
is_registered(const struct fixed_object *self)
{
    return self->engine != NULL && self->engine->engine != NULL &&
           !engine_is_forked(self->engine->engine);
}

/* Whoever is refused has memory like any other. */
static int
offer(struct fixed_object *self)
{
    struct engine_object *engine = engine_current();
    if (engine == NULL) {
        return -1;
    }
    self->index = fixed_take(engine->engine, self->memory, (size_t)self->size);
    if (self->index >= 0) {
        Py_INCREF(engine);
        self->engine = engine;
    }
    return 0;
}

static PyObject *
fixed_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"size", NULL};
    Py_ssize_t size;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n:FixedMemory", keywords, &size)) {
        return NULL;
    }
    if (size <= 0) {
        PyErr_SetString(PyExc_ValueError, "size must be at least 1");
        return NULL;
    }
    struct fixed_object *self = (struct fixed_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    void *memory = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    self->memory = memory;
    self->size = size;
    if (offer(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
fixed_clear(struct fixed_object *self)
{
    if (is_registered(self)) {
        fixed_give(self->engine->engine, self->index);
    }
    Py_CLEAR(self->engine);
    return 0;
}

static int
fixed_traverse(struct fixed_object *self, visitproc visit, void *arg)
{
    Py_VISIT(self->engine);
    return 0;
}

static void
fixed_dealloc(struct fixed_object *self)
{
    PyObject_GC_UnTrack(self);
    fixed_clear(self);
    if (self->memory != NULL) {
        munmap(self->memory, (size_t)self->size);
    }
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int
fixed_buffer(PyObject *self, Py_buffer *view, int flags)
{
    struct fixed_object *fixed = (struct fixed_object *)self;
    return PyBuffer_FillInfo(view, self, fixed->memory, fixed->size, 0, flags);
}

static PyObject *
fixed_registered(struct fixed_object *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(is_registered(self));
}

static PyGetSetDef fixed_getset[] = {
    {"registered", (getter)fixed_registered, NULL, "Whether the kernel has it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyBufferProcs fixed_buffers = {.bf_getbuffer = fixed_buffer};

PyTypeObject FixedMemory_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.FixedMemory",
    .tp_doc = "Zeroed memory, registered with the running loop's ring if it can be.",
    .tp_basicsize = sizeof(struct fixed_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_new = fixed_new,
    .tp_dealloc = (destructor)fixed_dealloc,
    .tp_traverse = (traverseproc)fixed_traverse,
    .tp_clear = (inquiry)fixed_clear,
    .tp_as_buffer = &fixed_buffers,
    .tp_getset = fixed_getset,
};
