/* A bytearray that is used as a queue: bytes are added at its end and taken from its
 * beginning. reader.c and readops.c call it.
 *
 * What Python sees is a plain bytearray in a state that bytearray's own methods leave
 * too: the contents begin somewhere in the memory and end with a NUL. Unlike them this
 * keeps a little memory when the queue is empty, and moves nothing to take bytes. */
#include "reader.h"

/* Memory before the contents. */
static inline Py_ssize_t
lead(const PyByteArrayObject *queue)
{
    return queue->ob_start - queue->ob_bytes;
}

/* Makes room behind the contents without asking for memory, if that is possible. */
static bool
make_room(PyByteArrayObject *queue, Py_ssize_t size)
{
    Py_ssize_t used = Py_SIZE(queue);
    if (queue->ob_exports != 0 || size >= queue->ob_alloc - used) {
        return false;
    }
    if (size >= queue->ob_alloc - used - lead(queue)) {
        if (used > lead(queue)) {
            return false; /* moving would cost more than it gains */
        }
        memcpy(queue->ob_bytes, queue->ob_start, (size_t)used);
        queue->ob_start = queue->ob_bytes;
    }
    return true;
}

int
queue_append(PyByteArrayObject *queue, const char *data, Py_ssize_t size)
{
    Py_ssize_t used = Py_SIZE(queue);
    if (LIKELY(make_room(queue, size))) {
        Py_SET_SIZE(queue, used + size);
        queue->ob_start[used + size] = '\0';
    } else if (size > PY_SSIZE_T_MAX - used - lead(queue) - 1) {
        PyErr_NoMemory();
        return -1;
    } else if (PyByteArray_Resize((PyObject *)queue, used + size) < 0) {
        return -1;
    }
    memcpy(queue->ob_start + used, data, (size_t)size);
    return 0;
}

int
queue_drop(PyByteArrayObject *queue, Py_ssize_t size)
{
    Py_ssize_t rest = Py_SIZE(queue) - size;
    if (size == 0) {
        return 0;
    }
    if (queue->ob_exports != 0 || (rest == 0 && queue->ob_alloc > QUEUE_KEPT_BYTES)) {
        /* Refuses, or gives the memory back. */
        return PySequence_DelSlice((PyObject *)queue, 0, size);
    }
    queue->ob_start = rest == 0 ? queue->ob_bytes : queue->ob_start + size;
    queue->ob_start[rest] = '\0';
    Py_SET_SIZE(queue, rest);
    return 0;
}

PyObject *
queue_take(PyByteArrayObject *queue, Py_ssize_t size)
{
    PyObject *bytes =
        PyBytes_FromStringAndSize(PyByteArray_AS_STRING((PyObject *)queue), size);
    if (bytes != NULL && queue_drop(queue, size) < 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}
