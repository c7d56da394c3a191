/* What all transports do the same way, see transport.h. */
#include "transport.h"

#include <stddef.h>
#include <unistd.h>

struct transport_names transport_names;

int
transport_names_init(void)
{
    struct transport_names *names = &transport_names;
    const struct {
        PyObject **slot;
        const char *text;
    } table[] = {
        {&names->buffer_updated, "buffer_updated"},
        {&names->connection_lost, "connection_lost"},
        {&names->connection_made, "connection_made"},
        {&names->data_received, "data_received"},
        {&names->datagram_received, "datagram_received"},
        {&names->eof_received, "eof_received"},
        {&names->error_received, "error_received"},
        {&names->get_buffer, "get_buffer"},
        {&names->pause_writing, "pause_writing"},
        {&names->resume_writing, "resume_writing"},
        {&names->attach, "_attach"},
        {&names->detach, "_detach"},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(table); i++) {
        *table[i].slot = PyUnicode_InternFromString(table[i].text);
        if (*table[i].slot == NULL) {
            return -1;
        }
    }
    return 0;
}

/* --- creation ------------------------------------------------------------------------------------ */

int
transport_set_up(struct transport *self, PyObject *loop, PyObject *sock, int fd,
                 PyObject *protocol, PyObject *extra, PyObject *server)
{
    self->fd = -1;
    self->high = 64 * 1024;
    self->low = self->high / 4;
    self->loop = Py_NewRef(loop);
    self->protocol = Py_NewRef(protocol);
    self->server = server == NULL || server == Py_None ? NULL : Py_NewRef(server);
    self->read_context = PyContext_CopyCurrent();
    if (self->read_context == NULL) {
        return -1;
    }
    if (extra != NULL && extra != Py_None) {
        self->extra = PyDict_New();
        if (self->extra == NULL || PyDict_Update(self->extra, extra) < 0) {
            return -1;
        }
    }
    self->fd = fd;
    self->sock = Py_XNewRef(sock);
    if (transport_ask_local(self) < 0 ||
        core_hold_fd(loop_core(loop), fd, &self->source) < 0) {
        return -1;
    }
    if (self->server == NULL) {
        return 0;
    }
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *res = PyObject_CallMethodOneArg(self->server, transport_names.attach,
                                              (PyObject *)self);
#else
    PyObject *res = PyObject_CallMethodNoArgs(self->server, transport_names.attach);
#endif
    if (res == NULL) {
        Py_CLEAR(self->server); /* not attached: not to be detached */
    }
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

int
transport_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self;
    (void)args;
    (void)kwargs;
    return 0;
}

/* --- the protocol ----------------------------------------------------------------------------------- */

PyObject *
protocol_call(struct transport *self, PyObject *name, PyObject *argument)
{
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *args[] = {protocol, argument};
    PyObject *res = PyObject_VectorcallMethod(
        name, args, (argument == NULL ? 1 : 2) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(protocol);
    return res;
}

int
context_run(PyObject *context, int (*function)(struct transport *),
            struct transport *self)
{
    if (UNLIKELY(PyContext_Enter(context) < 0)) {
        return -1;
    }
    Py_INCREF(context);
    int res = function(self);
    PyObject *exception = UNLIKELY(res < 0) ? exception_take() : NULL;
    if (UNLIKELY(PyContext_Exit(context) < 0)) {
        res = -1;
    }
    Py_DECREF(context);
    if (exception != NULL) {
        PyErr_Clear();
        exception_raise(exception);
    }
    return res;
}

PyObject *
transport_failed(struct transport *self, const char *message)
{
    if (exception_is_fatal()) {
        return NULL;
    }
    PyObject *exception = exception_take();
    PyObject *text = PyUnicode_FromString(message);
    PyObject *args[] = {(PyObject *)self, exception, text};
    int res = text == NULL ? -1 : report("transport_failed", args, 3);
    Py_XDECREF(text);
    if (res < 0) {
        Py_CLEAR(exception);
    }
    return exception;
}

/* Only SystemExit and KeyboardInterrupt leave this; all else is told to the handler. */
static int
tell_protocol(struct transport *self, PyObject *name, const char *message)
{
    PyObject *res = protocol_call(self, name, NULL);
    if (res != NULL) {
        Py_DECREF(res);
        return 0;
    }
    if (exception_is_fatal()) {
        return -1;
    }
    PyObject *exception = exception_take();
    PyObject *text = PyUnicode_FromString(message);
    PyObject *args[] = {(PyObject *)self, exception, text};
    int told = text == NULL ? -1 : report("flow_control_failed", args, 3);
    Py_XDECREF(text);
    Py_DECREF(exception);
    return told;
}

int
transport_maybe_pause(struct transport *self)
{
    if (self->buffered <= self->high || self->protocol_paused ||
        self->protocol == NULL) {
        return 0;
    }
    self->protocol_paused = true;
    return tell_protocol(self, transport_names.pause_writing,
                         "protocol.pause_writing() failed");
}

int
transport_maybe_resume(struct transport *self)
{
    if (!self->protocol_paused || self->buffered > self->low ||
        self->protocol == NULL) {
        return 0;
    }
    self->protocol_paused = false;
    return tell_protocol(self, transport_names.resume_writing,
                         "protocol.resume_writing() failed");
}

/* --- the end --------------------------------------------------------------------------------------- */

int
transport_lose(struct transport *self, PyObject *exception)
{
    self->place = TRANSPORT_LOST;
    PyObject *end = PyObject_GetAttrString((PyObject *)self, "_call_connection_lost");
    PyObject *argument = exception != NULL ? exception : Py_None;
    PyObject *args[] = {self->loop, end, argument};
    PyObject *handle =
        end == NULL
            ? NULL
            : PyObject_VectorcallMethod(names.call_soon, args,
                                        3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(end);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* The file is let go: no poll of ours holds it when it is closed. */
static int
close_file(struct transport *self)
{
    int fd = self->fd;
    if (fd < 0) {
        return 0;
    }
    struct core *core = loop_core(self->loop);
    core_drop_fd(core, fd, &self->source);
    source_flush(core);
    self->fd = -1;
    if (self->sock == NULL) {
        close(fd);
        return 0;
    }
    PyObject *res = PyObject_CallMethodNoArgs(self->sock, names.close);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
leave_server(struct transport *self)
{
    PyObject *server = self->server;
    if (server == NULL) {
        return 0;
    }
    self->server = NULL;
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *res =
        PyObject_CallMethodOneArg(server, transport_names.detach, (PyObject *)self);
#else
    PyObject *res = PyObject_CallMethodNoArgs(server, transport_names.detach);
#endif
    Py_DECREF(server);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

void
transport_abandon(struct transport *self)
{
    PyObject *exception = exception_take();
    if (self->fd >= 0) {
        core_drop_fd(loop_core(self->loop), self->fd, &self->source);
    }
    self->fd = -1;
    self->place = TRANSPORT_CLOSED;
    if (leave_server(self) < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    if (exception != NULL) {
        exception_raise(exception);
    }
}

/* The exception that came first; res < 0: another one is set. */
static PyObject *
first_of(PyObject *raised, int res)
{
    if (res == 0) {
        return raised;
    }
    PyObject *exception = exception_take();
    if (raised == NULL) {
        return exception;
    }
    Py_XDECREF(exception);
    return raised;
}

/* Everything is given up, whatever connection_lost raised; that is raised last. */
int
transport_end(struct transport *self, PyObject *exception)
{
    if (self->place == TRANSPORT_CLOSED) {
        return 0;
    }
    self->place = TRANSPORT_LOST;
    Py_INCREF(self);
    PyObject *res = self->protocol == NULL
                        ? Py_NewRef(Py_None)
                        : protocol_call(self, transport_names.connection_lost,
                                        exception != NULL ? exception : Py_None);
    PyObject *raised = res == NULL ? exception_take() : NULL;
    Py_XDECREF(res);
    source_close(&self->source);
    self->place = TRANSPORT_CLOSED;
    raised = first_of(raised, close_file(self));
    Py_CLEAR(self->protocol);
    raised = first_of(raised, leave_server(self));
    Py_DECREF(self);
    if (raised == NULL) {
        return 0;
    }
    exception_raise(raised);
    return -1;
}

static PyObject *
transport_call_connection_lost(struct transport *self, PyObject *exception)
{
    if (transport_end(self, exception == Py_None ? NULL : exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- methods ------------------------------------------------------------------------------------------ */

static PyObject *
transport_is_closing_method(struct transport *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(transport_is_closing(self));
}

static PyObject *
transport_get_protocol(struct transport *self, PyObject *none)
{
    (void)none;
    return Py_NewRef(self->protocol != NULL ? self->protocol : Py_None);
}

static PyObject *
transport_get_write_buffer_size(struct transport *self, PyObject *none)
{
    (void)none;
    if (transport_settle(self) < 0) {
        return NULL;
    }
    return PyLong_FromSsize_t(self->buffered);
}

static PyObject *
transport_get_write_buffer_limits(struct transport *self, PyObject *none)
{
    (void)none;
    return Py_BuildValue("(nn)", self->low, self->high);
}

static int
read_limit(PyObject *value, Py_ssize_t fallback, Py_ssize_t *limit)
{
    *limit = fallback;
    if (value != Py_None) {
        *limit = PyNumber_AsSsize_t(value, NULL); /* more than fits: the most */
    }
    return *limit == -1 && PyErr_Occurred() ? -1 : 0;
}

static Py_ssize_t
four_times(Py_ssize_t low)
{
    return low < 0 ? low : low > PY_SSIZE_T_MAX / 4 ? PY_SSIZE_T_MAX : 4 * low;
}

static PyObject *
transport_set_write_buffer_limits(struct transport *self, PyObject *args,
                                  PyObject *kwargs)
{
    static char *keywords[] = {"high", "low", NULL};
    PyObject *high_given = Py_None, *low_given = Py_None;
    Py_ssize_t high, low;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:set_write_buffer_limits",
                                     keywords, &high_given, &low_given) ||
        read_limit(low_given, 16 * 1024, &low) < 0 ||
        read_limit(high_given, four_times(low), &high) < 0) {
        return NULL;
    }
    low = low_given == Py_None ? high / 4 : low;
    if (!(high >= low && low >= 0)) {
        PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0",
                     high, low);
        return NULL;
    }
    if (transport_settle(self) < 0) {
        return NULL;
    }
    self->high = high;
    self->low = low;
    if (transport_maybe_pause(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
transport_lend(struct transport *self, PyObject *lent)
{
    if (transport_settle(self) < 0) {
        return NULL;
    }
    self->is_lent = PyObject_IsTrue(lent) == 1;
    struct core *core = loop_core(self->loop);
    if (self->is_lent) {
        core_drop_fd(core, self->fd, &self->source);
    } else if (self->fd >= 0 && core_hold_fd(core, self->fd, &self->source) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef transport_methods[] = {
    {"get_extra_info", (PyCFunction)(void (*)(void))transport_get_extra_info,
     METH_VARARGS | METH_KEYWORDS,
     "get_extra_info(name, default=None)\n--\n\nsocket, sockname, peername."},
    {"is_closing", (PyCFunction)transport_is_closing_method, METH_NOARGS,
     "is_closing()\n--\n\nWhether it is closed or being closed."},
    {"get_protocol", (PyCFunction)transport_get_protocol, METH_NOARGS,
     "get_protocol()\n--\n\nThe protocol."},
    {"get_write_buffer_size", (PyCFunction)transport_get_write_buffer_size, METH_NOARGS,
     "get_write_buffer_size()\n--\n\nBytes that wait to be sent."},
    {"get_write_buffer_limits", (PyCFunction)transport_get_write_buffer_limits,
     METH_NOARGS, "get_write_buffer_limits()\n--\n\n(low, high) in bytes."},
    {"set_write_buffer_limits",
     (PyCFunction)(void (*)(void))transport_set_write_buffer_limits,
     METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits(high=None, low=None)\n--\n\nWater marks in bytes."},
    {"_call_connection_lost", (PyCFunction)transport_call_connection_lost, METH_O,
     NULL},
    {"_lend", (PyCFunction)transport_lend, METH_O,
     "Whether others may use its descriptor for a while."},
    {NULL, NULL, 0, NULL},
};

/* --- life ---------------------------------------------------------------------------------------------- */

int
transport_traverse(struct transport *self, visitproc visit, void *arg)
{
    Py_VISIT(self->extra);
    Py_VISIT(self->loop);
    Py_VISIT(self->protocol);
    Py_VISIT(self->sock);
    Py_VISIT(self->server);
    Py_VISIT(self->made_context);
    Py_VISIT(self->read_context);
    Py_VISIT(self->write_context);
    Py_VISIT(self->waiter);
    Py_VISIT(self->dict);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* The loop stays until the object is freed: the source points into its core. */
int
transport_clear(struct transport *self)
{
    Py_CLEAR(self->extra);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->server);
    Py_CLEAR(self->made_context);
    Py_CLEAR(self->read_context);
    Py_CLEAR(self->write_context);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->dict);
    return 0;
}

void
transport_finalize(struct transport *self)
{
    if (self->fd < 0 || self->place == TRANSPORT_CLOSED) {
        return;
    }
    PyObject *exception = PyErr_Occurred() ? exception_take() : NULL;
    if (PyErr_ResourceWarning((PyObject *)self, 1, "unclosed transport %R", self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    source_close(&self->source);
    self->place = TRANSPORT_CLOSED;
    if (close_file(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    if (leave_server(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    if (exception != NULL) {
        exception_raise(exception);
    }
}

void
transport_free(struct transport *self)
{
    PyTypeObject *type = Py_TYPE(self);
    assert(!self->source.listed && !self->source.queued);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    (void)transport_clear(self);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->loop);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* --- the types ---------------------------------------------------------------------------------------- */

static int
add_attribute(PyTypeObject *type, const char *name, PyObject *value)
{
    int res =
        value == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, name, value);
    Py_XDECREF(value);
    return res;
}

static int
add_constants(PyTypeObject *type)
{
    PyObject *constants = PyImport_ImportModule("asyncio.constants");
    PyObject *modes =
        constants == NULL ? NULL : PyObject_GetAttrString(constants, "_SendfileMode");
    PyObject *mode = modes == NULL ? NULL : PyObject_GetAttrString(modes, "TRY_NATIVE");
    Py_XDECREF(constants);
    Py_XDECREF(modes);
    return add_attribute(type, "_sendfile_compatible", mode) < 0 ||
                   add_attribute(type, "_start_tls_compatible", Py_NewRef(Py_True)) <
                       0 ||
                   add_attribute(type, "max_size", PyLong_FromLong(256 * 1024)) < 0
               ? -1
               : 0;
}

static bool
has_own(PyTypeObject *type, const char *name)
{
    return PyDict_GetItemString(type->tp_dict, name) != NULL;
}

static int
add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    int res = 0;
    for (PyMethodDef *each = methods; res == 0 && each->ml_name != NULL; each++) {
        if (!has_own(type, each->ml_name)) {
            res = add_attribute(type, each->ml_name, PyDescr_NewMethod(type, each));
        }
    }
    return res;
}

int
transport_type_add(PyTypeObject *type)
{
    int res = add_methods(type, transport_methods);
    res = res < 0 ? -1 : add_methods(type, transport_life_methods);
    for (PyGetSetDef *each = transport_getset; res == 0 && each->name; each++) {
        res = add_attribute(type, each->name, PyDescr_NewGetSet(type, each));
    }
    for (PyMemberDef *each = transport_members; res == 0 && each->name; each++) {
        res = add_attribute(type, each->name, PyDescr_NewMember(type, each));
    }
    return res < 0 ? -1 : add_constants(type);
}
