/* add_reader and add_writer: descriptors of the program's own, in an epoll set.
 *
 * An epoll set, and not polls in the ring, because it reports levels and lets go of a
 * file that its user closes, which is what asyncio's programs rely on. The engine
 * watches the set itself; readers_collect asks it which descriptors are ready. */
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { READERS_FIRST = 64, EVENTS_MAX = 256 };

int
file_number(PyObject *file)
{
    static PyObject *convert; /* owned for ever: selectors._fileobj_to_fd */
    if (PyLong_CheckExact(file)) {
        long fd = PyLong_AsLong(file);
        if (fd >= 0 && fd <= INT32_MAX) {
            return (int)fd;
        }
        PyErr_Clear();
    }
    PyObject *function = module_attribute(&convert, "selectors", "_fileobj_to_fd");
    PyObject *number = function == NULL ? NULL : PyObject_CallOneArg(function, file);
    if (number == NULL) {
        return -1;
    }
    long fd = PyLong_AsLong(number);
    Py_DECREF(number);
    if (fd < 0 || fd > INT32_MAX) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %ld", fd);
        }
        return -1;
    }
    return (int)fd;
}

static int
open_set(struct core *core)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (core->engine != NULL && core->engine->engine != NULL) {
        int res = engine_watch(core->engine->engine, fd);
        if (res < 0) {
            close(fd);
            errno = -res;
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
    }
    core->readers_fd = fd;
    return 0;
}

static struct reader *
reader_at(struct core *core, int fd)
{
    if ((uint32_t)fd < core->readers_room) {
        return &core->readers[fd];
    }
    if (fcntl(fd, F_GETFD) < 0) { /* no table for numbers that nobody has */
        PyErr_SetFromErrno(PyExc_OSError);
        return NULL;
    }
    uint32_t room = core->readers_room ? core->readers_room : READERS_FIRST;
    while (room <= (uint32_t)fd) {
        room *= 2;
    }
    struct reader *readers = PyMem_Realloc(core->readers, room * sizeof(*readers));
    if (readers == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    memset(readers + core->readers_room, 0,
           (room - core->readers_room) * sizeof(*readers));
    core->readers = readers;
    core->readers_room = room;
    return &core->readers[fd];
}

/* The set as the two handles want it. The program may have closed the descriptor and
 * got the number again: then what the set knew is gone, and it is added anew. */
static int
control(struct core *core, int fd, const struct reader *reader, bool known)
{
    if (core->forked) {
        return 0; /* the set is the parent's: whatever is changed changes there */
    }
    struct epoll_event event = {
        .events = (reader->read != NULL ? EPOLLIN : 0u) |
                  (reader->write != NULL ? EPOLLOUT : 0u),
        .data.fd = fd,
    };
    if (event.events == 0) {
        if (known) {
            (void)epoll_ctl(core->readers_fd, EPOLL_CTL_DEL, fd, &event);
        }
        return 0;
    }
    int res =
        epoll_ctl(core->readers_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    if (res < 0 && known && errno == ENOENT) {
        res = epoll_ctl(core->readers_fd, EPOLL_CTL_ADD, fd, &event);
    } else if (res < 0 && !known && errno == EEXIST) {
        res = epoll_ctl(core->readers_fd, EPOLL_CTL_MOD, fd, &event);
    }
    if (res < 0) {
        errno = fd == core->readers_fd ? EBADF : errno; /* our set is nobody's */
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return res;
}

static void
cancel(PyObject *handle)
{
    PyObject *res = handle == NULL ? NULL : PyObject_CallMethod(handle, "cancel", NULL);
    if (handle != NULL && res == NULL) {
        PyErr_WriteUnraisable(handle);
    }
    Py_XDECREF(res);
    Py_XDECREF(handle);
}

PyObject *
readers_add(struct core *core, PyObject *const *args, Py_ssize_t count, bool write)
{
    if (count < 2) {
        PyErr_SetString(PyExc_TypeError, "a file descriptor and a callback are needed");
        return NULL;
    }
    int fd = core_check_process(core) < 0 ? -1 : file_number(args[0]);
    if (fd < 0 || (core->readers_fd < 0 && open_set(core) < 0)) {
        return NULL;
    }
    struct reader *reader = reader_at(core, fd);
    struct handle *handle =
        reader == NULL ? NULL
                       : handle_new(core->loop, args[1], args + 2, count - 2, NULL);
    if (handle == NULL || (core->debug && handle_note_stack(handle) < 0)) {
        Py_XDECREF(handle);
        return NULL;
    }
    reader = &core->readers[fd]; /* noting the stack ran Python */
    PyObject **slot = write ? &reader->write : &reader->read;
    bool known = reader->read != NULL || reader->write != NULL;
    PyObject *before = *slot;
    *slot = (PyObject *)handle;
    if (control(core, fd, reader, known) < 0) {
        *slot = before;
        Py_DECREF(handle);
        return NULL;
    }
    core->readers_count += before == NULL;
    Py_XSETREF(core->readers[fd].file,
               PyLong_Check(args[0]) ? NULL : Py_NewRef(args[0]));
    Py_INCREF(handle);
    cancel(before);
    return (PyObject *)handle;
}

/* The number of a file, or the one that it had when it was registered: programs close
 * first and remove then. -1: exception. */
static int
number_then_or_now(const struct core *core, PyObject *file)
{
    int fd = file_number(file);
    if (fd >= 0 || !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return fd;
    }
    for (uint32_t each = 0; each < core->readers_room; each++) {
        if (core->readers[each].file == file) {
            PyErr_Clear();
            return (int)each;
        }
    }
    return -1;
}

/* Nothing is left that was registered with the file. */
static void
forget_file(struct reader *reader)
{
    if (reader->read == NULL && reader->write == NULL) {
        PyObject *file = reader->file;
        reader->file = NULL;
        Py_XDECREF(file);
    }
}

PyObject *
readers_remove(struct core *core, PyObject *file, bool write)
{
    int fd = number_then_or_now(core, file);
    if (fd < 0) {
        return NULL;
    }
    if ((uint32_t)fd >= core->readers_room) {
        Py_RETURN_FALSE;
    }
    struct reader *reader = &core->readers[fd];
    PyObject **slot = write ? &reader->write : &reader->read;
    PyObject *before = *slot;
    if (before == NULL) {
        Py_RETURN_FALSE;
    }
    *slot = NULL;
    core->readers_count -= 1;
    if (control(core, fd, reader, true) < 0) {
        PyErr_Clear(); /* closed meanwhile: then there is nothing to change */
    }
    forget_file(reader);
    cancel(before);
    Py_RETURN_TRUE;
}

PyObject *
readers_of(struct core *core, PyObject *file)
{
    int fd = file_number(file);
    if (fd < 0) {
        return NULL;
    }
    struct reader none = {NULL, NULL, NULL};
    struct reader *reader =
        (uint32_t)fd < core->readers_room ? &core->readers[fd] : &none;
    return PyTuple_Pack(2, reader->read != NULL ? reader->read : Py_None,
                        reader->write != NULL ? reader->write : Py_None);
}

/* --- collecting ------------------------------------------------------------------------------ */

/* A handle that the program cancelled itself: as asyncio, it is removed. */
static void
drop_cancelled(struct core *core, int fd)
{
    struct reader *reader = &core->readers[fd];
    PyObject **slots[] = {&reader->read, &reader->write};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(slots); i++) {
        PyObject *handle = *slots[i];
        if (handle != NULL && handle_is_cancelled((struct handle *)handle)) {
            *slots[i] = NULL;
            core->readers_count -= 1;
            if (control(core, fd, reader, true) < 0) {
                PyErr_Clear();
            }
            Py_DECREF(handle);
            reader = &core->readers[fd];
            forget_file(reader);
        }
    }
}

static int
push_event(struct core *core, int fd, uint32_t events)
{
    if ((uint32_t)fd >= core->readers_room) {
        return 0;
    }
    drop_cancelled(core, fd);
    PyObject *read = core->readers[fd].read, *write = core->readers[fd].write;
    if (read != NULL && (events & ~(uint32_t)EPOLLOUT) &&
        core_push(core, Py_NewRef(read)) < 0) {
        return -1;
    }
    if (write != NULL && (events & ~(uint32_t)EPOLLIN) &&
        core_push(core, Py_NewRef(write)) < 0) {
        return -1;
    }
    return 0;
}

int
readers_collect(struct core *core)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(core->readers_fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < count; i++) {
        if (push_event(core, events[i].data.fd, events[i].events) < 0) {
            return -1;
        }
    }
    return 0;
}

void
readers_clear(struct core *core)
{
    if (core->readers_fd >= 0) {
        if (core->engine != NULL && core->engine->engine != NULL &&
            !engine_is_forked(core->engine->engine)) {
            (void)engine_watch(core->engine->engine, -1);
        }
        close(core->readers_fd);
        core->readers_fd = -1;
    }
    for (uint32_t fd = 0; fd < core->readers_room; fd++) {
        Py_CLEAR(core->readers[fd].read);
        Py_CLEAR(core->readers[fd].write);
        Py_CLEAR(core->readers[fd].file);
    }
    core->readers_count = 0;
}
