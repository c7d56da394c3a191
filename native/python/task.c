/* create_task, as a method of the type Loop.
 *
 * asyncio's own is a function of Python around the type Task, called once per task by
 * create_task, gather, TaskGroup and servers. Here it is that call alone. Whatever is
 * not the common case (a factory, debug mode, other arguments) goes asyncio's way. */
#include "loop.h"

/* Owned for ever: asyncio.tasks, BaseEventLoop.create_task, interned names. */
static PyObject *tasks, *create_task_of_base, *task_name, *name_name, *context_name;

enum { GIVEN_NAME = 1, GIVEN_CONTEXT = 2, GIVEN_ALL = 4 };
static PyObject *keywords[GIVEN_ALL]; /* owned for ever: by what is given */

static PyObject *
make_keywords(int given)
{
    PyObject *names[] = {NULL, NULL, NULL};
    Py_ssize_t count = 0;
    names[count++] = PyUnicode_InternFromString("loop");
    if (given & GIVEN_NAME) {
        names[count++] = Py_NewRef(name_name);
    }
    if (given & GIVEN_CONTEXT) {
        names[count++] = Py_NewRef(context_name);
    }
    PyObject *tuple = names[0] == NULL ? NULL : PyTuple_New(count);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (tuple != NULL) {
            PyTuple_SET_ITEM(tuple, i, names[i]);
        } else {
            Py_XDECREF(names[i]);
        }
    }
    return tuple;
}

int
task_init(void)
{
    PyObject *base = PyImport_ImportModule("asyncio.base_events");
    PyObject *type =
        base == NULL ? NULL : PyObject_GetAttrString(base, "BaseEventLoop");
    create_task_of_base =
        type == NULL ? NULL : PyObject_GetAttrString(type, "create_task");
    Py_XDECREF(type);
    Py_XDECREF(base);
    tasks = create_task_of_base == NULL ? NULL : PyImport_ImportModule("asyncio.tasks");
    task_name = PyUnicode_InternFromString("Task");
    name_name = PyUnicode_InternFromString("name");
    context_name = PyUnicode_InternFromString("context");
    if (tasks == NULL || task_name == NULL || name_name == NULL ||
        context_name == NULL) {
        return -1;
    }
    for (int given = 0; given < GIVEN_ALL; given++) {
        keywords[given] = make_keywords(given);
        if (keywords[given] == NULL) {
            return -1;
        }
    }
    return 0;
}

static bool
is_named(PyObject *name, PyObject *interned, const char *text)
{
    return name == interned || PyUnicode_CompareWithASCIIString(name, text) == 0;
}

/* The keywords that are not None, borrowed, in the order of `keywords`. -1: another
 * one. */
static int
read_keywords(PyObject *const *values, PyObject *names, PyObject **given)
{
    PyObject *name = NULL, *context = NULL;
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *value = values[i] == Py_None ? NULL : values[i];
        PyObject *each = PyTuple_GET_ITEM(names, i);
        if (is_named(each, name_name, "name")) {
            name = value;
        } else if (is_named(each, context_name, "context")) {
            context = value;
        } else {
            return -1;
        }
    }
    if (name != NULL) {
        *given++ = name;
    }
    if (context != NULL) {
        *given = context;
    }
    return (name != NULL ? GIVEN_NAME : 0) | (context != NULL ? GIVEN_CONTEXT : 0);
}

/* asyncio's own, with self in front. */
static PyObject *
call_base(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t all = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    PyObject **stack = PyMem_Malloc((size_t)(all + 1) * sizeof(*stack));
    if (stack == NULL) {
        return PyErr_NoMemory();
    }
    stack[0] = self;
    memcpy(stack + 1, args, (size_t)all * sizeof(*stack));
    PyObject *task =
        PyObject_Vectorcall(create_task_of_base, stack, (size_t)count + 1, names);
    PyMem_Free(stack);
    return task;
}

/* `type(coro, loop=self)`. With an engine the keywords are there already. */
static PyObject *
make_task(PyObject *type, const struct core *core, PyObject *const *stack, int given)
{
    const struct engine_object *engine = core->engine;
    if (given != 0 || engine == NULL || engine->loop != stack[1]) {
        return PyObject_Vectorcall(type, stack, 1, keywords[given]);
    }
    /* Kept: the collector may run, and close the engine. */
    PyObject *kwargs = Py_NewRef(engine->future_kwargs);
    PyObject *args = PyTuple_Pack(1, stack[0]);
    PyObject *task = args == NULL ? NULL : PyObject_Call(type, args, kwargs);
    Py_DECREF(kwargs);
    Py_XDECREF(args);
    return task;
}

PyObject *
loop_create_task(PyObject *self, PyObject *const *args, Py_ssize_t count,
                 PyObject *names)
{
    const struct core *core = loop_core(self);
    PyObject *stack[4] = {count == 1 ? args[0] : NULL, self};
    int given = count == 1 ? read_keywords(args + count, names, stack + 2) : -1;
    if (UNLIKELY(given < 0 || core->task_factory != NULL || core->debug ||
                 core->closed)) {
        return call_base(self, args, count, names);
    }
    if (core_check_process(core) < 0) {
        return NULL;
    }
    /* Programs and tests put a class of their own there. */
    PyObject *type = PyObject_GetAttr(tasks, task_name);
    if (type == NULL) {
        return NULL;
    }
    PyObject *task = make_task(type, core, stack, given);
    Py_DECREF(type);
    return task;
}
