/* What getdents64 gave, as Python objects: one for each entry, or two lists of names.
 *
 * A walk of a cached tree spends most of its time on these, so they are C; files_folders.py
 * alone calls them. The bytes may be anything: what does not fit together is refused. */
#include "loop.h"

#include <dirent.h>

struct record { /* the kernel's struct linux_dirent64, without the name */
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t kind;
};

enum { NAME_AT = 19 }; /* where the name is in an entry */

struct entries {      /* of entries; all borrowed */
    const char *next; /* entry */
    const char *end;
    const char *name; /* of the last entry, ends with a null */
    size_t size;
    uint64_t inode;
    uint8_t kind;
};

static bool
is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

/* The next entry that is not `.` or `..`. 1: there is one; 0: none; -1: exception. */
static int
next_entry(struct entries *at)
{
    while (at->next < at->end) {
        struct record record;
        size_t left = (size_t)(at->end - at->next);
        if (left <= NAME_AT) {
            break;
        }
        memcpy(&record, at->next, NAME_AT);
        const char *name = at->next + NAME_AT;
        if (record.length <= NAME_AT || record.length > left) {
            break;
        }
        const char *end = memchr(name, 0, record.length - NAME_AT);
        if (end == NULL) {
            break;
        }
        at->next += record.length;
        at->name = name;
        at->size = (size_t)(end - name);
        at->inode = record.inode;
        at->kind = record.kind;
        if (!is_dots(name)) {
            return 1;
        }
    }
    if (at->next == at->end) {
        return 0;
    }
    PyErr_SetString(PyExc_ValueError, "this is no list of directory entries");
    return -1;
}

static PyObject *
make_name(const struct entries *at, bool is_text)
{
    Py_ssize_t size = (Py_ssize_t)at->size;
    return is_text ? PyUnicode_DecodeFSDefaultAndSize(at->name, size)
                   : PyBytes_FromStringAndSize(at->name, size);
}

static int
read_arguments(PyObject *const *args, Py_ssize_t count, Py_ssize_t wanted,
               struct entries *at)
{
    if (count != wanted || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "bytes and so on are wanted");
        return -1;
    }
    at->next = PyBytes_AS_STRING(args[0]);
    at->end = at->next + PyBytes_GET_SIZE(args[0]);
    return PyObject_IsTrue(args[1]);
}

/* The list takes the reference. */
static int
append(PyObject *list, PyObject *item)
{
    int res = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return res;
}

PyObject *
native_read_entries(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    struct entries at;
    int is_text = read_arguments(args, count, 2, &at);
    PyObject *list = is_text < 0 ? NULL : PyList_New(0);
    int more = list == NULL ? -1 : next_entry(&at);
    while (more > 0) {
        PyObject *name = make_name(&at, is_text);
        PyObject *item = name == NULL ? NULL
                                      : Py_BuildValue("NBK", name, at.kind,
                                                      (unsigned long long)at.inode);
        more = append(list, item) < 0 ? -1 : next_entry(&at);
    }
    if (more < 0) {
        Py_CLEAR(list);
    }
    return list;
}

PyObject *
native_sort_entries(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    struct entries at;
    int is_text = read_arguments(args, count, 4, &at);
    if (is_text < 0) {
        return NULL;
    }
    PyObject *folders = args[2], *others = args[3];
    if (!PyList_Check(folders) || !PyList_Check(others)) {
        PyErr_SetString(PyExc_TypeError, "two lists are wanted");
        return NULL;
    }
    int more = next_entry(&at);
    while (more > 0) {
        if (at.kind == DT_UNKNOWN || at.kind == DT_LNK) {
            Py_RETURN_FALSE;
        }
        PyObject *list = at.kind == DT_DIR ? folders : others;
        bool failed = append(list, make_name(&at, is_text)) < 0;
        more = failed ? -1 : next_entry(&at);
    }
    return more < 0 ? NULL : Py_NewRef(Py_True);
}
