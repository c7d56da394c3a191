/* asyncio's streams in C: what a transport calls, and what reader.c, reading.c and
 * writer.c share.
 *
 * An asyncio.StreamReader that nobody has changed is given a class of ours, and so is
 * the StreamWriter that a server's callback is called with. The reader's attributes
 * move into a structure, behind descriptors: whoever uses `_buffer` or `_waiter`, or
 * calls asyncio's own functions on it, finds what asyncio would have left there.
 * Whatever is unusual is handed to asyncio's own function. */
#ifndef SYSLET_READER_H
#define SYSLET_READER_H

#include "module.h"

/* --- for transports ------------------------------------------------------------ */

/* To be called before protocol.connection_made(), and when a transport is given another
 * protocol. If the protocol is an unchanged asyncio.StreamReaderProtocol, its reader
 * becomes one of ours, and a new reference to what reader_feed wants is returned. It
 * keeps nothing alive. Else NULL: data goes to data_received(). Sets no exception. */
PyObject *reader_adopt(PyObject *protocol);

/* As protocol.data_received(bytes of data). feeder: of reader_adopt. -1: exception. */
int reader_feed(PyObject *feeder, const char *data, Py_ssize_t size);

int streams_init(PyObject *module);
PyObject *native_adopt_stream(PyObject *module, PyObject *protocol);
PyObject *native_feed_stream(PyObject *module, PyObject *args);

/* --- names and classes (streams.c) ---------------------------------------------- */

struct stream_names { /* owned for ever: interned strings */
    PyObject *args, *cancelled, *class_, *client_connected_cb, *close;
    PyObject *connection_lost, *consumed, *create_future, *data_received, *dict_;
    PyObject *drain_helper, *exception, *feed_data, *is_closing, *partial;
    PyObject *pause_reading, *paused, *protocol, *reader, *resume_reading;
    PyObject *set_exception, *set_result, *state, *stream_reader_wr, *throw_;
    PyObject *transport, *write;
};

extern struct stream_names stream_names;

/* A class of asyncio.streams: what we replace, and what we rely on. */
struct stream_class {
    const char *name;
    const char *const *relied; /* NULL-terminated: functions that must be asyncio's */
    PyTypeObject *theirs;      /* owned for ever */
    PyTypeObject *ours;        /* owned for ever; NULL: none is needed */
    PyObject *functions;       /* owned: theirs, a dict by name */
    unsigned seen_version;     /* of theirs, when it was last found unchanged */
};

extern struct stream_class reader_class, writer_class, protocol_class;

/* The functions of the class are still those of asyncio.streams. */
bool stream_class_is_unchanged(struct stream_class *class);
/* No function is hidden by an attribute of the instance. */
bool stream_instance_is_plain(const struct stream_class *class, PyObject *dict,
                              Py_ssize_t usual);
/* Gives an instance of theirs the class of ours, and a dictionary with the state in
 * the place of the attributes that it holds; false: it stays what it is. */
bool stream_move_in(const struct stream_class *class, PyObject *object, PyObject *dict,
                    PyObject *state);
/* Gives the class an attribute; *key becomes its name. */
int stream_describe(PyTypeObject *type, PyGetSetDef *getset, PyObject **key);
/* Calls asyncio's own function of this name with (self, *args, **kwnames). */
PyObject *stream_class_call(const struct stream_class *class, const char *name,
                            PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *kwnames);

PyObject *stream_referent(PyObject *reference); /* new; NULL: it is gone */
/* The attributes of an instance. Borrowed; NULL: an exception is set. */
PyObject *stream_dict(PyObject *object);
PyObject *stream_field(PyObject *dict, PyObject *name); /* borrowed; AttributeError */
int stream_flag(PyObject *dict, PyObject *name);        /* 0, 1; -1: exception */
void raise_object(PyObject *exception);                 /* as `raise exception` */

/* --- awaitables (reading.c) ------------------------------------------------------- */

enum reading_outcome { READING_ERROR, READING_VALUE, READING_WAIT, READING_YIELD };

struct reading;

struct reading_kind {
    const char *name; /* what coroutines of asyncio call themselves */
    /* Goes on as far as it can. VALUE: *result is new. WAIT: self->iterator is set.
     * YIELD: the task shall come back in the next tick. */
    enum reading_outcome (*advance)(struct reading *self, PyObject **result);
    /* The wait has ended, one way or another; an exception may be set and stays set. */
    void (*woken)(struct reading *self);
    /* May turn the exception that is set into another, or into a result. */
    PyObject *(*rescue)(struct reading *self);
    bool waits_for_future; /* and never for anything else */
};

enum reading_phase { READING_NEW, READING_RUNNING, READING_WAITING, READING_DONE };

struct reading { /* a call of a method that is a coroutine function in asyncio */
    PyObject_HEAD const struct reading_kind *kind; /* borrowed: constant */
    PyObject *object;    /* owned: the reader or writer; NULL when done */
    PyObject *state;     /* owned: of the object */
    PyObject *iterator;  /* owned: of what is waited for; NULL */
    PyObject *separator; /* owned: bytes; NULL: not of this kind */
    Py_ssize_t size;     /* of a read */
    Py_ssize_t offset;   /* of a search */
    enum reading_phase phase;
    uint8_t stage; /* of the kind: 0 at first */
};

extern PyTypeObject Reading_Type;

struct reading *reading_new(const struct reading_kind *kind, PyObject *object,
                            PyObject *state);
/* Waits for an awaitable, which is stolen; NULL: the exception goes on. */
enum reading_outcome reading_wait(struct reading *self, PyObject *awaitable);

/* --- the classes' methods ---------------------------------------------------------- */

extern PyMethodDef reader_methods[]; /* reader.c */
extern PyMethodDef writer_methods[]; /* writer.c */

/* --- the state of a reader (readerstate.c) ------------------------------------------ */

struct reader_state {
    PyObject_HEAD PyByteArrayObject *buffer; /* owned; never a subclass */
    PyObject *exception;                     /* owned; None: not set, as below */
    PyObject *loop;                          /* owned */
    PyObject *transport;                     /* owned */
    PyObject *waiter;                        /* owned */
    PyObject *limit;                         /* owned */
    PyObject *reference;    /* owned: weak, to the reader; NULL: it was not adopted */
    struct feeder *feeder;  /* owned; NULL: it was not adopted */
    Py_ssize_t limit_floor; /* the largest size within the limit */
    Py_ssize_t limit_twice; /* the largest within twice the limit */
    bool eof, paused;
    bool patched; /* a function of the class may be hidden by an attribute */
};

struct feeder { /* what a transport has of a reader; keeps nothing alive */
    PyObject_HEAD struct reader_state *state; /* borrowed; NULL: the reader is gone */
};

extern PyTypeObject Feeder_Type;

extern PyTypeObject ReaderState_Type;
enum { READER_FIELDS = 1 }; /* attributes of an instance that nobody added to */

PyObject *reader_state_feeder(struct reader_state *state); /* new; NULL: exception */
int reader_state_describe(PyTypeObject *type); /* gives the class its descriptors */
struct reader_state *reader_state_make(PyObject *dict); /* borrowed from dict; NULL */
bool
reader_state_move_in(PyObject *reader); /* asyncio's becomes ours; or it does not */
/* Of a reader of ours. Borrowed; NULL: an exception is set. */
static inline struct reader_state *
reader_state_of(PyObject *reader)
{
    PyObject *dict = stream_dict(reader);
    PyObject *state =
        dict == NULL ? NULL : PyDict_GetItemWithError(dict, stream_names.state);
    if (LIKELY(state != NULL && Py_IS_TYPE(state, &ReaderState_Type))) {
        return (struct reader_state *)state;
    }
    return dict == NULL || PyErr_Occurred() ? NULL : reader_state_make(dict);
}

/* --- the state of a writer (writerstate.c) ------------------------------------------ */

struct writer_state {
    PyObject_HEAD PyObject *complete;  /* owned; None: not set, as below */
    PyObject *loop;                    /* owned */
    PyObject *protocol;                /* owned */
    PyObject *reader;                  /* owned */
    PyObject *transport;               /* owned */
    struct reader_state *reader_state; /* owned; NULL: the reader is not one of ours */
    Py_ssize_t protocol_fields; /* attributes that it had; -1: not asyncio's own */
};

extern PyTypeObject WriterState_Type;

int writer_state_describe(PyTypeObject *type); /* gives the class its descriptors */
struct writer_state *writer_state_make(PyObject *dict); /* borrowed from dict; NULL */
bool
writer_state_move_in(PyObject *writer); /* asyncio's becomes ours; or it does not */
/* Of a writer of ours. Borrowed; NULL: an exception is set. */
static inline struct writer_state *
writer_state_of(PyObject *writer)
{
    PyObject *dict = stream_dict(writer);
    PyObject *state =
        dict == NULL ? NULL : PyDict_GetItemWithError(dict, stream_names.state);
    if (LIKELY(state != NULL && Py_IS_TYPE(state, &WriterState_Type))) {
        return (struct writer_state *)state;
    }
    return dict == NULL || PyErr_Occurred() ? NULL : writer_state_make(dict);
}

int reader_init(void); /* reader.c. -1: an exception is set, as below */
/* The state is alive meanwhile. */
int reader_resume(struct reader_state *state); /* the transport, if it is paused */
int reader_resume_within_limit(struct reader_state *state); /* and not too much waits */

/* writer.c: the callback of a server's protocol will be called with a writer of ours. */
void writer_expect(PyObject *protocol);

/* readops.c: the awaitables of a reader. */
PyObject *reader_awaitable_read(PyObject *reader, PyObject *state, Py_ssize_t size);
PyObject *reader_awaitable_readexactly(PyObject *reader, PyObject *state,
                                       Py_ssize_t size);
PyObject *reader_awaitable_readuntil(PyObject *reader, PyObject *state,
                                     PyObject *separator); /* NULL: a newline */
PyObject *reader_awaitable_readline(PyObject *reader, PyObject *state);
PyObject *reader_awaitable_next(PyObject *reader, PyObject *state);
int readops_init(void);

/* bytequeue.c: a bytearray that is used as a queue. -1, NULL: an exception is set. */
int queue_append(PyByteArrayObject *queue, const char *data, Py_ssize_t size);
int queue_drop(PyByteArrayObject *queue, Py_ssize_t size); /* from its beginning */
PyObject *queue_take(PyByteArrayObject *queue, Py_ssize_t size);

#endif
