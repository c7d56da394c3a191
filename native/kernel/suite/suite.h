/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The tests of the patched kernel: how they build programs, run them and say what
 * they expected. Included by every file of the suite; nothing here is used elsewhere.
 */
#ifndef SYSLET_SUITE_H
#define SYSLET_SUITE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/io_uring.h>
#include <linux/syslet.h>

/* Ends the test, which runs in a process of its own, if @good does not hold. */
#define CHECK(good)                                                                    \
    do {                                                                               \
        if (!(good))                                                                   \
            check_failed(__FILE__, __LINE__, #good, 0, 0);                             \
    } while (0)
#define EQUAL(got, wanted)                                                             \
    do {                                                                               \
        long long got_ = (long long)(got), wanted_ = (long long)(wanted);              \
        if (got_ != wanted_)                                                           \
            check_failed(__FILE__, __LINE__, #got, got_, wanted_);                     \
    } while (0)

_Noreturn void check_failed(const char *file, int line, const char *what, long long got,
                            long long wanted);

/* Where they are reported; 1 unless a test needs that descriptor. */
extern int check_fd;

struct test {
    const char *name;
    void (*run)(void);
};

/* One table per file, ended by a row without a name. */
extern const struct test basic_tests[], async_tests[], signal_tests[], guard_tests[],
    attempt_tests[];

/* program.c: atoms and their arguments in one place, in the order they are added. */
enum { PROGRAM_ATOMS = 512 };
struct program {
    struct syslet_uatom atom[PROGRAM_ATOMS];
    uint64_t value[PROGRAM_ATOMS * 6];
    int atoms, values;
};

/* The address of a constant argument. It lives as long as the program. */
uint64_t *program_value(struct program *program, uint64_t value);
/* Adds an atom that follows the one before it; arguments end with NULL. */
struct syslet_uatom *program_add(struct program *program, unsigned flags, void *ret,
                                 unsigned nr, ...);
#define V(program, value) program_value(program, (uint64_t)(uintptr_t)(value))

void run_begin(struct syslet_run *run, const struct syslet_uatom *first);
/* The ioctl: 0, 1 or -errno. */
int run_exec(struct syslet_run *run);
/* Begins and runs a whole program in the caller. */
int program_exec(struct program *program, struct syslet_run *run);
/* The device, opened on first use; children inherit it. */
int device(void);
/* After its descriptor was closed: it is opened anew. */
void device_forget(void);

/* ring.c: as much of an io_uring as the tests need, one thread per ring. */
struct ring {
    int fd;
    unsigned flags, entries, queued;
    unsigned *sq_head, *sq_tail, *sq_mask, *sq_array;
    unsigned *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqe;
    struct io_uring_cqe *cqe;
    size_t ring_bytes;
    void *memory;
};

int ring_open(struct ring *ring, unsigned entries, unsigned flags);
void ring_close(struct ring *ring);
struct io_uring_sqe *ring_sqe(struct ring *ring, uint64_t user_data);
void ring_queue(struct ring *ring, struct syslet_run *run, uint64_t user_data,
                unsigned sqe_flags);
int ring_submit(struct ring *ring);
/* The next completion; sleeps for it. */
struct io_uring_cqe ring_wait(struct ring *ring);
/* Is there one? Lets the kernel post what is ready, but does not sleep. */
bool ring_ready(struct ring *ring);
/* Queues, submits and waits for one run: its result. */
int ring_run(struct ring *ring, struct syslet_run *run, unsigned sqe_flags);
int ring_cancel(struct ring *ring, uint64_t user_data);

/* library.c: the same atoms by libsyslet, in user space. False: an error. */
bool library_run(struct syslet_uatom *first);

/* tools.c */
void sleep_ms(int ms);
uint64_t now_ns(void);
/* How many threads of this process are io-wq workers. */
int workers(void);
/* A file below /tmp with these bytes. */
void make_file(const char *path, const void *bytes, size_t size);
/* A child that runs @body and exits with its result; its pid. */
int child(int (*body)(void *), void *context);
/* What wait says of it: exit code, or 128 + signal. */
int reap(int pid);

int run_tests(const char *only);
int bench(void);
/* Batches from `first` on: what a failed one needs to be repeated. */
int fuzz(unsigned long executions, unsigned long seed, unsigned long first);

#endif
