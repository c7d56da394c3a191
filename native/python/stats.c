/* What the Engine type tells in numbers: counters, misses by operation, where a miss goes.
 * engine.c has these methods in its table. */
#include "module.h"

#include "../engine/op.h"

static const struct {
    const char *name;
    size_t offset;
} stats_fields[] = {
#define FIELD(name) {#name, offsetof(struct engine_stats, name)}
    FIELD(atoms),     FIELD(inlined),   FIELD(to_ring),     FIELD(to_worker),
    FIELD(enters),    FIELD(submitted), FIELD(completed),   FIELD(waits),
    FIELD(wakeups),   FIELD(stale),     FIELD(overflows),   FIELD(launched),
    FIELD(landed),    FIELD(flying),    FIELD(cancelling),  FIELD(abandoned),
    FIELD(ready),     FIELD(waiting),   FIELD(working),     FIELD(paused),
    FIELD(prepared),  FIELD(workers),   FIELD(budget_cuts), FIELD(memory),
    FIELD(to_kernel), FIELD(in_kernel),
#undef FIELD
};
_Static_assert(sizeof(struct engine_stats) ==
                   sizeof(stats_fields) / sizeof(stats_fields[0]) * sizeof(uint64_t),
               "every field of the statistics is reported");

/* dict[name] = number; -1 with an exception. `name` may be NULL with one. */
static int
note(PyObject *dict, PyObject *name, uint64_t number)
{
    PyObject *value = name != NULL ? PyLong_FromUnsignedLongLong(number) : NULL;
    int res = value != NULL ? PyDict_SetItem(dict, name, value) : -1;
    Py_XDECREF(value);
    Py_XDECREF(name);
    return res;
}

PyObject *
engine_stats_method(struct engine_object *self, PyObject *none)
{
    (void)none;
    if (!engine_is_open(self)) {
        return NULL;
    }
    struct engine_stats stats;
    engine_stats_get(self->engine, &stats);
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < Py_ARRAY_LENGTH(stats_fields); i++) {
        const uint64_t *field =
            (const uint64_t *)((const char *)&stats + stats_fields[i].offset);
        PyObject *name = PyUnicode_FromString(stats_fields[i].name);
        if (note(dict, name, *field) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

static PyObject *
operation_name(uint32_t nr)
{
    const struct op *op = op_find(nr);
    if (op != NULL) {
        return PyUnicode_FromString(op->name);
    }
    return nr == MISSES_COUNTED ? PyUnicode_FromString("others")
                                : PyUnicode_FromFormat("syscall %u", nr);
}

PyObject *
engine_misses_method(struct engine_object *self, PyObject *none)
{
    (void)none;
    PyObject *dict = PyDict_New(); /* first: the collector may close the engine */
    if (dict != NULL && !engine_is_open(self)) {
        Py_CLEAR(dict);
    }
    for (uint32_t nr = 0; dict != NULL && nr <= MISSES_COUNTED; nr++) {
        uint64_t count = engine_misses(self->engine, nr);
        if (count != 0 && note(dict, operation_name(nr), count) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

PyObject *
engine_get_flying(struct engine_object *self, void *none)
{
    (void)none;
    return engine_is_open(self)
               ? PyLong_FromUnsignedLongLong(engine_flying(self->engine))
               : NULL;
}

PyObject *
engine_miss_path_method(struct engine_object *self, PyObject *number)
{
    static const char *const words[] = {
        [MISS_NEVER] = "never",         [MISS_RING] = "ring",
        [MISS_READINESS] = "readiness", [MISS_WORKER] = "worker",
        [MISS_KERNEL] = "kernel",
    };
    unsigned long nr = PyLong_AsUnsignedLong(number);
    if ((nr == (unsigned long)-1 && PyErr_Occurred()) || !engine_is_open(self)) {
        return NULL;
    }
    return PyUnicode_FromString(words[engine_miss_path(self->engine, (uint32_t)nr)]);
}
