/* The Plan type: a program from Python's hands, with its parameters and templates.
 *
 * Everything that can be read once is read here and in template.c: parameters become C
 * structures and templates become trees of nodes whose cells and memory have been
 * checked, so that binding and result building need no checks of their own. The program itself is
 * checked by the engine's verifier. A plan is immutable; only plan.py makes one. */
#include "module.h"

#include <errno.h>
#include <string.h>

/* --- parameters ------------------------------------------------------------------ */

static const char *const kind_names[] = {
    [PARAM_INT] = "int",           [PARAM_FD] = "fd",
    [PARAM_PATH] = "path",         [PARAM_READABLE] = "readable",
    [PARAM_WRITABLE] = "writable", [PARAM_TIMEOUT] = "timeout",
    [PARAM_OBJECT] = "object",
};

static bool
takes_address(enum param_kind kind)
{
    return kind == PARAM_PATH || kind == PARAM_READABLE || kind == PARAM_WRITABLE;
}

static int
read_kind(PyObject *name, enum param_kind *kind)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(kind_names); i++) {
        if (PyUnicode_CompareWithASCIIString(name, kind_names[i]) == 0) {
            *kind = (enum param_kind)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "no kind of parameter: %R", name);
    return -1;
}

static int
read_param(struct param *param, PyObject *row, uint32_t cells_count)
{
    PyObject *kind, *name, *convert, *fallback;
    unsigned long long least;
    int has_fallback;
    if (!PyTuple_Check(row)) {
        PyErr_SetString(PyExc_TypeError, "a parameter is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(row, "UUIIKOpO:param", &kind, &name, &param->cell,
                          &param->second, &least, &convert, &has_fallback, &fallback) ||
        read_kind(kind, &param->kind) < 0) {
        return -1;
    }
    if (param->kind == PARAM_TIMEOUT && param->cell != 0) {
        param->second = param->cell + 1;
    }
    if (param->cell >= cells_count || param->second >= cells_count) {
        PyErr_Format(PyExc_ValueError, "parameter %R: no cell %u", name,
                     Py_MAX(param->cell, param->second));
        return -1;
    }
    param->least = least;
    param->name = Py_NewRef(name);
    PyUnicode_InternInPlace(&param->name);
    param->convert = convert == Py_None ? NULL : Py_NewRef(convert);
    param->fallback = has_fallback ? Py_NewRef(fallback) : NULL;
    return 0;
}

static int
read_params(struct plan_object *self, PyObject *rows, uint32_t cells_count)
{
    Py_ssize_t count = PyTuple_GET_SIZE(rows);
    self->params = PyMem_Calloc((size_t)count + 1, sizeof(*self->params));
    if (self->params == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->params_count = (uint32_t)count;
    for (uint32_t i = 0; i < self->params_count; i++) {
        struct param *param = &self->params[i];
        if (read_param(param, PyTuple_GET_ITEM(rows, i), cells_count) < 0) {
            return -1;
        }
        bool memory = param->kind == PARAM_READABLE || param->kind == PARAM_WRITABLE;
        self->views += memory;
        if (param->fallback == NULL) {
            if (self->required != i) {
                PyErr_Format(PyExc_ValueError,
                             "parameter %R without default follows one with",
                             param->name);
                return -1;
            }
            self->required = i + 1;
        }
    }
    return 0;
}

/* The verifier takes the host's word for how much is behind an address: here is where
 * that word is kept. */
static int
check_host_address(const struct param *param, const struct program_reloc *reloc)
{
    uint64_t behind = param->kind == PARAM_PATH ? 1 : param->least;
    if (reloc->value <= behind) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError,
                 "parameter %R: the program needs %llu bytes, it promises %llu",
                 param->name, (unsigned long long)reloc->value,
                 (unsigned long long)behind);
    return -1;
}

/* Every host address in the program must be filled by a parameter. */
static int
check_relocs(const struct plan_object *self, const struct program *program)
{
    for (uint32_t i = 0; i < program->relocs_count; i++) {
        const struct program_reloc *reloc = &program->relocs[i];
        const struct param *filled = NULL;
        for (uint32_t k = 0; k < self->params_count; k++) {
            const struct param *param = &self->params[k];
            bool uses = reloc->cell == param->cell && param->kind != PARAM_OBJECT;
            if (uses && !(takes_address(param->kind) && reloc->kind == RELOC_HOST)) {
                PyErr_Format(PyExc_ValueError, "parameter %R: its cell is relocated",
                             param->name);
                return -1;
            }
            if (uses && check_host_address(param, reloc) < 0) {
                return -1;
            }
            filled = uses ? param : filled;
        }
        if (reloc->kind == RELOC_HOST && filled == NULL) {
            PyErr_Format(PyExc_ValueError, "cell %u: no parameter brings its address",
                         reloc->cell);
            return -1;
        }
    }
    return 0;
}

static bool
is_relocated(const struct program *program, uint32_t cell)
{
    for (uint32_t i = 0; i < program->relocs_count; i++) {
        if (program->relocs[i].cell == cell) {
            return true;
        }
    }
    return false;
}

/* Cells with plain values from us, which no atom may overwrite. */
static uint32_t
list_inputs(const struct plan_object *self, const struct program *program,
            uint32_t *inputs)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->params_count; i++) {
        const struct param *param = &self->params[i];
        if (param->kind == PARAM_OBJECT) {
            continue;
        }
        if (param->cell != 0 && !is_relocated(program, param->cell)) {
            inputs[count++] = param->cell;
        }
        if (param->second != 0) {
            inputs[count++] = param->second;
        }
    }
    return count;
}

/* --- the program ---------------------------------------------------------------------- */

struct images { /* the bytes objects of a call; borrowed */
    PyObject *atoms, *cells, *relocs, *buffers, *bounds, *consts;
};

static int
read_table(PyObject *bytes, size_t row, const char *name, uint32_t *count)
{
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    if (size % row != 0 || size / row > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%s: %zu bytes are no whole rows of %zu", name,
                     size, row);
        return -1;
    }
    *count = (uint32_t)(size / row);
    return 0;
}

static int
read_program(struct program *program, const struct images *images)
{
    if (read_table(images->atoms, sizeof(struct program_atom), "atoms",
                   &program->atoms_count) < 0 ||
        read_table(images->cells, sizeof(uint64_t), "cells", &program->cells_count) <
            0 ||
        read_table(images->relocs, sizeof(struct program_reloc), "relocs",
                   &program->relocs_count) < 0 ||
        read_table(images->buffers, sizeof(struct program_buffer), "buffers",
                   &program->buffers_count) < 0 ||
        read_table(images->bounds, sizeof(struct program_bound), "bounds",
                   &program->bounds_count) < 0 ||
        read_table(images->consts, 1, "consts", &program->consts_size) < 0) {
        return -1;
    }
    program->atoms = (const void *)PyBytes_AS_STRING(images->atoms);
    program->cells = (const void *)PyBytes_AS_STRING(images->cells);
    program->relocs = (const void *)PyBytes_AS_STRING(images->relocs);
    program->buffers = (const void *)PyBytes_AS_STRING(images->buffers);
    program->bounds = (const void *)PyBytes_AS_STRING(images->bounds);
    program->consts = PyBytes_AS_STRING(images->consts);
    return 0;
}

static int
create(struct plan_object *self, struct program *program)
{
    program->shows_count = plan_list_shows(self, NULL);
    uint32_t *inputs = PyMem_Calloc(2 * self->params_count + 1, sizeof(*inputs));
    struct program_show *shows =
        PyMem_Calloc((size_t)program->shows_count + 1, sizeof(*shows));
    if (inputs == NULL || shows == NULL) {
        PyMem_Free(inputs);
        PyMem_Free(shows);
        PyErr_NoMemory();
        return -1;
    }
    program->inputs_count = list_inputs(self, program, inputs);
    program->inputs = inputs;
    plan_list_shows(self, shows);
    program->shows = shows;
    struct program_error error = {.atom = UINT32_MAX};
    int res = plan_create(&self->plan, program, &error);
    PyMem_Free(inputs);
    PyMem_Free(shows);
    if (res == -ENOMEM) {
        PyErr_NoMemory();
    } else if (res < 0 && error.atom != UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "atom %u: %s", error.atom, error.text);
    } else if (res < 0) {
        PyErr_SetString(PyExc_ValueError, error.text);
    }
    return res;
}

/* Traces call it as the compiler does, which tests without a compiler need not. */
static int
label(struct plan_object *self)
{
    PyObject *name = PyObject_GetAttrString(self->info, "name");
    if (name == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    const char *text =
        name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : "program";
    if (text != NULL) {
        plan_label_set(self->plan, text);
    }
    Py_XDECREF(name);
    return text == NULL ? -1 : 0;
}

static PyObject *
plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"atoms",  "cells",  "relocs", "buffers",
                               "bounds", "consts", "params", "result",
                               "emits",  "info",   NULL};
    struct images images;
    PyObject *params, *result, *emits, *info;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "$SSSSSSO!OO!O:Plan", keywords, &images.atoms, &images.cells,
            &images.relocs, &images.buffers, &images.bounds, &images.consts,
            &PyTuple_Type, &params, &result, &PyTuple_Type, &emits, &info)) {
        return NULL;
    }
    struct program program = {0};
    if (read_program(&program, &images) < 0) {
        return NULL;
    }
    struct plan_object *self = (struct plan_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->info = Py_NewRef(info);
    if (read_params(self, params, program.cells_count) < 0 ||
        check_relocs(self, &program) < 0 ||
        plan_read_templates(self, result, emits, &program) < 0 ||
        create(self, &program) < 0 || label(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* --- the type --------------------------------------------------------------------------- */

/* Like a tuple, a plan is made of older things only: no tp_clear is needed. */
static int
plan_traverse(struct plan_object *self, visitproc visit, void *arg)
{
    Py_VISIT(self->info);
    for (uint32_t i = 0; i < self->params_count; i++) {
        Py_VISIT(self->params[i].convert);
        Py_VISIT(self->params[i].fallback);
    }
    for (uint32_t i = 0; i < self->emits_count; i++) {
        int res = node_traverse(&self->emits[i], visit, arg);
        if (res != 0) {
            return res;
        }
    }
    return node_traverse(&self->result, visit, arg);
}

static void
plan_dealloc(struct plan_object *self)
{
    PyObject_GC_UnTrack(self);
    for (uint32_t i = 0; i < self->params_count; i++) {
        Py_XDECREF(self->params[i].name);
        Py_XDECREF(self->params[i].convert);
        Py_XDECREF(self->params[i].fallback);
    }
    PyMem_Free(self->params);
    node_clear(&self->result);
    for (uint32_t i = 0; i < self->emits_count; i++) {
        node_clear(&self->emits[i]);
    }
    PyMem_Free(self->emits);
    if (self->plan != NULL) {
        plan_drop(self->plan);
    }
    Py_XDECREF(self->info);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *
plan_repr(struct plan_object *self)
{
    return PyUnicode_FromFormat("<Plan of %u atoms, %u cells>",
                                plan_atoms_count(self->plan),
                                plan_cells_count(self->plan));
}

static PyMemberDef plan_members[] = {
    {"info", T_OBJECT, offsetof(struct plan_object, info), READONLY,
     "What the compiler knows about the program."},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject Plan_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "syslet_loop._native.Plan",
    .tp_doc = "A verified program with its parameters and result templates.",
    .tp_basicsize = sizeof(struct plan_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = plan_new,
    .tp_dealloc = (destructor)plan_dealloc,
    .tp_traverse = (traverseproc)plan_traverse,
    .tp_repr = (reprfunc)plan_repr,
    .tp_members = plan_members,
};
