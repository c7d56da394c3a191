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

static struct epoll_event
wanted(int fd, const struct reader *reader)
{
    return (struct epoll_event){
        .events = (reader->read != NULL ? EPOLLIN : 0u) |
                  (reader->write != NULL ? EPOLLOUT : 0u),
        .data.fd = fd,
    };
}

/* One of the handles is new. The program may have closed the descriptor and got the
 * number again: then what the set knew is gone, and it is added anew. 0, or 1 if the
 * number was known and is another file's now; -1: exception. */
static int
extend(struct core *core, int fd, const struct reader *reader, bool known)
{
    struct epoll_event event = wanted(fd, reader);
    int command = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int res = epoll_ctl(core->readers_fd, command, fd, &event);
    if (res < 0 && known && errno == ENOENT) {
        res = epoll_ctl(core->readers_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -1 : 1;
    } else if (res < 0 && !known && errno == EEXIST) {
        res = epoll_ctl(core->readers_fd, EPOLL_CTL_MOD, fd, &event);
    }
    if (res < 0) {
        errno = fd == core->readers_fd ? EBADF : errno; /* our set is nobody's */
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return res;
}

/* One of the handles has gone. If the descriptor was closed meanwhile, there is nothing
 * to change: who has the number now did not ask for the other handle. */
static void
shrink(const struct core *core, int fd, const struct reader *reader)
{
    struct epoll_event event = wanted(fd, reader);
    if (!core->forked) { /* else the set is the parent's: a change would be there */
        int command = event.events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
        (void)epoll_ctl(core->readers_fd, command, fd, &event);
    }
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

/* As in asyncio's selector, the object that came first stands for the descriptor. May
 * run any Python code. */
static void
note_file(struct reader *reader, PyObject *file)
{
    PyObject *before = reader->file;
    reader->file = PyLong_Check(file) ? NULL : Py_NewRef(file);
    Py_XDECREF(before);
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
    int changed = extend(core, fd, reader, known);
    if (changed < 0) {
        *slot = before;
        Py_DECREF(handle);
        return NULL;
    }
    core->readers_count += before == NULL;
    Py_INCREF(handle); /* who is forgotten or cancelled may remove it again */
    if (!known || changed > 0) {
        note_file(reader, args[0]);
    }
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
    shrink(core, fd, reader);
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

/* A handle that the program cancelled itself: as asyncio, it is removed. What is let go
 * may run any Python code, which may move the readers. */
static void
drop_cancelled(struct core *core, int fd, bool write)
{
    struct reader *reader = &core->readers[fd];
    PyObject **slot = write ? &reader->write : &reader->read;
    PyObject *handle = *slot;
    if (LIKELY(handle == NULL || !handle_is_cancelled((struct handle *)handle))) {
        return;
    }
    *slot = NULL;
    core->readers_count -= 1;
    shrink(core, fd, reader);
    forget_file(reader);
    Py_DECREF(handle);
}

static int
push_event(struct core *core, int fd, uint32_t events)
{
    if ((uint32_t)fd >= core->readers_room) {
        return 0;
    }
    drop_cancelled(core, fd, false);
    drop_cancelled(core, fd, true);
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
