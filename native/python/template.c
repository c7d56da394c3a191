/* Result templates: the trees of nodes that say what a landed flight's result is.
 *
 * Read once, when a plan is made: every cell and bound is checked here, so that
 * result.c builds without checks of its own. Called by plan.c only. */
#include "module.h"

enum { DEPTH_MAX = 32 }; /* of nested templates */

struct reading { /* what the templates are checked against; all borrowed */
    const struct program *program;
    const struct param *params;
    uint32_t params_count;
};

static int read_node(struct node *node, PyObject *source, const struct reading *reading,
                     int depth);

static int
read_cell(PyObject *source, Py_ssize_t index, const struct reading *reading,
          uint32_t *cell)
{
    unsigned long value = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(source, index));
    if (value == (unsigned long)-1 && PyErr_Occurred()) {
        return -1;
    }
    if (value >= reading->program->cells_count) {
        PyErr_Format(PyExc_ValueError, "template: no cell %lu", value);
        return -1;
    }
    *cell = (uint32_t)value;
    return 0;
}

/* How much memory is surely behind the address in a cell: whatever the length cell
 * says when the flight lands, no more than this is copied. */
static int
find_bound(struct node *node, const struct reading *reading)
{
    const struct program *program = reading->program;
    for (uint32_t i = 0; i < program->buffers_count; i++) {
        if (program->buffers[i].address == node->first) {
            bool fixed = program->buffers[i].size != 0;
            node->bound = program->buffers[i].size;
            node->bound_cell = fixed ? 0 : program->buffers[i].capacity;
            return 0;
        }
    }
    for (uint32_t i = 0; i < reading->params_count; i++) {
        const struct param *param = &reading->params[i];
        bool memory = param->kind == PARAM_READABLE || param->kind == PARAM_WRITABLE;
        if (memory && param->cell == node->first) {
            node->bound = param->least;
            node->bound_cell = param->second;
            return 0;
        }
    }
    for (uint32_t i = 0; i < program->relocs_count; i++) {
        const struct program_reloc *reloc = &program->relocs[i];
        if (reloc->cell != node->first) {
            continue;
        }
        uint64_t end = reloc->kind == RELOC_CELL ? program->cells_count * UINT64_C(8)
                                                 : program->consts_size;
        if ((reloc->kind == RELOC_CELL || reloc->kind == RELOC_CONST) &&
            reloc->value <= end) {
            node->bound = end - reloc->value;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "template: cell %u is no address of known memory",
                 node->first);
    return -1;
}

static int
read_children(struct node *node, PyObject *sequence, const struct reading *reading,
              int depth)
{
    PyObject *items = PySequence_Tuple(sequence);
    if (items == NULL) {
        return -1;
    }
    int res = -1;
    Py_ssize_t count = PyTuple_GET_SIZE(items);
    node->children = PyMem_Calloc((size_t)count + 1, sizeof(*node->children));
    if (node->children == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    node->count = (uint32_t)count;
    for (uint32_t i = 0; i < node->count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        if (read_node(&node->children[i], item, reading, depth + 1) < 0) {
            goto done;
        }
        node->fds += node->children[i].fds;
    }
    res = 0;
done:
    Py_DECREF(items);
    return res;
}

static int
read_dict(struct node *node, PyObject *source, const struct reading *reading, int depth)
{
    node->object = PySequence_Tuple(PyTuple_GET_ITEM(source, 1));
    if (node->object == NULL ||
        read_children(node, PyTuple_GET_ITEM(source, 2), reading, depth) < 0) {
        return -1;
    }
    if (PyTuple_GET_SIZE(node->object) != (Py_ssize_t)node->count) {
        PyErr_SetString(PyExc_ValueError, "template: as many keys as values, please");
        return -1;
    }
    return 0;
}

static int
read_param_node(struct node *node, PyObject *source, const struct reading *reading)
{
    unsigned long index = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(source, 1));
    if (index == (unsigned long)-1 && PyErr_Occurred()) {
        return -1;
    }
    if (index >= reading->params_count) {
        PyErr_Format(PyExc_ValueError, "template: no parameter %lu", index);
        return -1;
    }
    node->first = (uint32_t)index;
    return 0;
}

static int
read_call(struct node *node, PyObject *source, const struct reading *reading, int depth)
{
    PyObject *callable = PyTuple_GET_ITEM(source, 1);
    if (!PyCallable_Check(callable)) {
        PyErr_Format(PyExc_TypeError, "template: %R cannot be called", callable);
        return -1;
    }
    node->object = Py_NewRef(callable);
    return read_children(node, PyTuple_GET_ITEM(source, 2), reading, depth);
}

static const struct {
    const char *name;
    Py_ssize_t size; /* of the tuple */
} node_shapes[] = {
    [NODE_NONE] = {"none", 1},   [NODE_INT] = {"int", 2},
    [NODE_FD] = {"fd", 2},       [NODE_BYTES] = {"bytes", 3},
    [NODE_PARAM] = {"param", 2}, [NODE_CONST] = {"const", 2},
    [NODE_TUPLE] = {"tuple", 2}, [NODE_LIST] = {"list", 2},
    [NODE_DICT] = {"dict", 3},   [NODE_CALL] = {"call", 3},
};

static int
read_shape(struct node *node, PyObject *source)
{
    if (!PyTuple_Check(source) || PyTuple_GET_SIZE(source) == 0 ||
        !PyUnicode_Check(PyTuple_GET_ITEM(source, 0))) {
        PyErr_Format(PyExc_TypeError, "template: %R is no node", source);
        return -1;
    }
    PyObject *name = PyTuple_GET_ITEM(source, 0);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(node_shapes); i++) {
        if (PyUnicode_CompareWithASCIIString(name, node_shapes[i].name) == 0 &&
            PyTuple_GET_SIZE(source) == node_shapes[i].size) {
            node->kind = (enum node_kind)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "template: %R is no node", source);
    return -1;
}

static int
read_node(struct node *node, PyObject *source, const struct reading *reading, int depth)
{
    if (read_shape(node, source) < 0) {
        return -1;
    }
    if (depth > DEPTH_MAX) {
        PyErr_Format(PyExc_ValueError, "template: nested deeper than %d", DEPTH_MAX);
        return -1;
    }
    switch (node->kind) {
    case NODE_NONE:
        return 0;
    case NODE_FD:
        node->fds = 1;
        return read_cell(source, 1, reading, &node->first);
    case NODE_INT:
        return read_cell(source, 1, reading, &node->first);
    case NODE_BYTES:
        if (read_cell(source, 1, reading, &node->first) < 0 ||
            read_cell(source, 2, reading, &node->second) < 0) {
            return -1;
        }
        return find_bound(node, reading);
    case NODE_PARAM:
        return read_param_node(node, source, reading);
    case NODE_CONST:
        node->object = Py_NewRef(PyTuple_GET_ITEM(source, 1));
        return 0;
    case NODE_TUPLE:
    case NODE_LIST:
        return read_children(node, PyTuple_GET_ITEM(source, 1), reading, depth);
    case NODE_DICT:
        return read_dict(node, source, reading, depth);
    case NODE_CALL:
        return read_call(node, source, reading, depth);
    }
    Py_UNREACHABLE();
}

void
node_clear(struct node *node)
{
    for (uint32_t i = 0; i < node->count; i++) {
        node_clear(&node->children[i]);
    }
    PyMem_Free(node->children);
    Py_XDECREF(node->object);
}

int
node_traverse(const struct node *node, visitproc visit, void *arg)
{
    Py_VISIT(node->object);
    for (uint32_t i = 0; i < node->count; i++) {
        int res = node_traverse(&node->children[i], visit, arg);
        if (res != 0) {
            return res;
        }
    }
    return 0;
}

/* Lists the memory that a tree reads behind the first `count`; `shows` NULL: only counts.
 * The new count. */
static uint32_t
list_shows(const struct node *node, struct program_show *shows, uint32_t count)
{
    if (node->kind == NODE_BYTES) {
        if (shows != NULL) {
            shows[count] = (struct program_show){node->first, node->second};
        }
        return count + 1;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        count = list_shows(&node->children[i], shows, count);
    }
    return count;
}

uint32_t
plan_list_shows(const struct plan_object *self, struct program_show *shows)
{
    uint32_t count = list_shows(&self->result, shows, 0);
    for (uint32_t i = 0; i < self->emits_count; i++) {
        count = list_shows(&self->emits[i], shows, count);
    }
    return count;
}

int
plan_read_templates(struct plan_object *self, PyObject *result, PyObject *emits,
                    const struct program *program)
{
    const struct reading reading = {program, self->params, self->params_count};
    if (read_node(&self->result, result, &reading, 0) < 0) {
        return -1;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(emits);
    self->emits = PyMem_Calloc((size_t)count + 1, sizeof(*self->emits));
    if (self->emits == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->emits_count = (uint32_t)count;
    for (uint32_t i = 0; i < self->emits_count; i++) {
        PyObject *emit = PyTuple_GET_ITEM(emits, i);
        if (read_node(&self->emits[i], emit, &reading, 0) < 0) {
            return -1;
        }
    }
    return 0;
}
