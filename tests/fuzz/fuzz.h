/* Fuzzing of the verifier and the interpreter: one input is one program and one course
 * of events.
 *
 * fuzz.c reads the program, has it verified, flies it and ends it; fuzz_kernel.c is a
 * kernel without any effect outside this process, whose answers are the rest of the
 * input; fuzz_memory.c knows which memory is the flight's and is asked before every byte
 * that a kernel would read or write. Driven by libfuzzer.c and by the tests' driver;
 * nothing here makes a system call. */
#ifndef SYSLET_FUZZ_H
#define SYSLET_FUZZ_H

#include "engine_private.h"

enum {
    FUZZ_CELLS_MAX = 256,
    FUZZ_HOST_BYTES = 64, /* behind each address of the host's */
    FUZZ_HOSTS_MAX = 16,
    FUZZ_MEMORY_MAX = 1 << 18, /* of computed buffers */
    FUZZ_FD_FIRST = 100,
    FUZZ_FDS = 100,
    FUZZ_PENDING_MAX = 64,
    FUZZ_CALLS_ENOUGH = 300, /* of one flight: then it is cancelled */
    FUZZ_CALLS_MAX = 200000, /* of one input: more is a loop without end */
    SECRET = 0xAB,           /* memory of earlier flights consists of it */
};

/* One input. The text of what went wrong, in static memory; NULL: nothing did. */
const char *fuzz_one(const uint8_t *data, size_t size);

/* How many of the programs so far passed the verifier. */
uint64_t fuzz_accepted(void);

/* --- between the files --- */

struct input {         /* what is left of it */
    const uint8_t *at; /* borrowed */
    size_t left;
};

extern struct input fuzz_events;   /* decisions */
extern struct flight *fuzz_flight; /* borrowed: the one in the air; NULL: none */
extern const struct kernel fuzz_kernel;

uint32_t fuzz_decide(uint32_t count); /* below count; 0 when the input has ended */
void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* fuzz_memory.c */
struct fuzz_roles { /* what the program's cells are, found without the verifier */
    const struct program *program; /* borrowed */
    uint8_t kinds[FUZZ_CELLS_MAX]; /* enum program_reloc_kind; 0: none */
    uint8_t inputs[FUZZ_CELLS_MAX];
    uint8_t buffers[FUZZ_CELLS_MAX]; /* number plus 1 */
    uint64_t values[FUZZ_CELLS_MAX]; /* of the relocations */
};

extern struct fuzz_roles fuzz_roles;
void fuzz_roles_find(const struct program *program);
void fuzz_hosts_fill(struct flight *flight); /* as the host does before the launch */
void fuzz_dirty(struct flight *flight);      /* what the engine left uncleared */
/* A kernel reads or writes this much behind an address that came from that cell (0: from
 * nowhere). false: -EFAULT. What no program may make it do is a failure. */
bool fuzz_touch(uint32_t cell, uint64_t address, uint64_t size, bool writes);
bool fuzz_reach(uint32_t cell, uint64_t address, uint64_t size,
                bool writes); /* only may */
bool fuzz_string(uint32_t cell, uint64_t address);
void fuzz_show(uint32_t cell, uint64_t size); /* the host reads a result */

/* fuzz_calls.c: what a system call does to memory, and what it answers. */
struct fuzz_call {
    const struct step *step; /* borrowed: the atom; NULL: the engine's own call */
    uint64_t args[6];
    int64_t done; /* bytes of it that earlier parts have moved */
};

int64_t fuzz_row(const struct fuzz_call *call);
int64_t fuzz_outcome(uint64_t most); /* of something that succeeds with up to `most` */
int64_t fuzz_copy(const uint64_t *args, bool writes); /* process_vm_readv, _writev */
int64_t fuzz_vector(const struct fuzz_call *call, int at, bool writes);

/* fuzz_fds.c: descriptors that exist only here. */
struct fuzz_file {
    uint8_t open, kind, nonblocking, watched;
    uint32_t events; /* of epoll */
    uint64_t data;
};

enum { KIND_FILE, KIND_FIFO, KIND_SOCKET, KIND_EVENT };

int64_t fuzz_fd_new(uint8_t kind);
struct fuzz_file *fuzz_fd(uint64_t fd); /* NULL: not open */
int64_t fuzz_fd_dup(uint64_t fd, uint64_t to);
int64_t fuzz_fcntl(const uint64_t *args);
int64_t fuzz_epoll_ctl(const uint64_t *args);
int64_t fuzz_epoll_wait(const uint64_t *args);
void fuzz_fds_reset(void);

/* fuzz_kernel.c */
void fuzz_kernel_reset(void);
uint32_t fuzz_fds_open(void);
uint32_t fuzz_pending(void);
uint32_t fuzz_calls(void);        /* made so far */
void fuzz_answer(uint32_t index); /* completes a request, as the input decides */
void fuzz_hurry(void);            /* from now on everything is answered at once */

#endif
