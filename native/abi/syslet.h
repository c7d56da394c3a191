/* Syslets, as announced in 2007: the interface, in user space, on any kernel.
 *
 * A syslet is a graph of atoms in the program's own memory, one system call each.
 * async_exec runs it in the calling thread in forms that cannot block. If every atom
 * could be done so, it returns the address of the last one and posts nothing. At the
 * first that would have to wait it returns NULL; a thread of the library goes on from
 * there and posts the address of the atom that ended the syslet to the completion ring
 * of `ahu`. docs/libsyslet.md has the whole contract, and what differs from the kernel's.
 *
 * SYSLET_ABI chooses the layout before this file is included:
 *   6  (default) the last full version: fields of fixed width, 80 bytes an atom
 *   3  versions 3 to 5: fields as wide as a pointer
 *   1  versions 1 and 2: atoms as in 3; one head per thread, which is registered */
#ifndef SYSLET_H
#define SYSLET_H

#include <stdint.h>

#ifndef SYSLET_ABI
#define SYSLET_ABI 6
#endif

#ifdef __cplusplus
#define SYSLET_PRIVATE private_ /* the field's name is a word of that language */
extern "C" {
#else
#define SYSLET_PRIVATE private
#endif

/* Flags of an atom. A stop condition looks at the result of the atom that has it. */
#define SYSLET_ASYNC 0x00000001u       /* do not try here: to another thread at once */
#define SYSLET_SYNC 0x00000002u        /* do not leave this thread: block in it */
#define SYSLET_NO_COMPLETE 0x00000004u /* ending here is not posted */
#define SYSLET_STOP_ON_NONZERO 0x00000008u
#define SYSLET_STOP_ON_ZERO 0x00000010u
#define SYSLET_STOP_ON_NEGATIVE 0x00000020u
#define SYSLET_STOP_ON_NON_POSITIVE 0x00000040u
#define SYSLET_STOP_MASK 0x00000078u
#define SYSLET_SKIP_TO_NEXT_ON_STOP 0x00000080u /* a stop goes to uatom + 1 instead */

#if SYSLET_ABI == 6

struct syslet_uatom {
    uint32_t flags;
    uint32_t nr;             /* system call number of this machine, or umem_add's */
    uint64_t ret_ptr;        /* long *, or 0: the result is stored there */
    uint64_t next;           /* struct syslet_uatom *, or 0: the end */
    uint64_t arg_ptr[6];     /* unsigned long *; the first 0 ends the list */
    uint64_t SYSLET_PRIVATE; /* the program's own */
};

struct async_head_user {
    uint64_t kernel_ring_idx;     /* slot that is filled next; the library's */
    uint64_t user_ring_idx;       /* slot that is read next; the program's */
    uint64_t completion_ring_ptr; /* uint64_t *: addresses of atoms, 0: empty */
    uint64_t ring_size_bytes;
    uint64_t head_stack; /* accepted and not used, as the next three: no user */
    uint64_t head_ip;    /* context ever moves to another thread */
    uint64_t new_thread_stack;
    uint64_t new_thread_ip;
};

#elif SYSLET_ABI == 3 || SYSLET_ABI == 1

struct syslet_uatom {
    unsigned long flags;
    unsigned long nr;
    long *ret_ptr;
    struct syslet_uatom *next;
    unsigned long *arg_ptr[6];
    void *SYSLET_PRIVATE;
};

#if SYSLET_ABI == 3
struct async_head_user {
    unsigned long kernel_ring_idx;
    unsigned long user_ring_idx;
    struct syslet_uatom **completion_ring;
    unsigned long ring_size_bytes;
    unsigned long head_stack;
    unsigned long head_eip;
    unsigned long new_thread_stack;
    unsigned long new_thread_eip;
};
#else
struct async_head_user {
    struct syslet_uatom **completion_ring;
    unsigned long ring_size_bytes;
    unsigned long max_nr_threads; /* that run its syslets at once; -1: no limit */
};
#endif

#else
#error "SYSLET_ABI is 6, 3 or 1"
#endif

/* Numbers for `nr` that no kernel uses. The first is an operation of syslets; the
 * others are here so that a program that names them compiles: as an atom each is
 * refused with -EINVAL, because a syslet submits no syslets. */
#define SYSLET_NR_UMEM_ADD 0x10001
#define SYSLET_NR_ASYNC_EXEC 0x10101
#define SYSLET_NR_ASYNC_WAIT 0x10102
#define SYSLET_NR_ASYNC_THREAD 0x10103
#define SYSLET_NR_ASYNC_REGISTER 0x10104
#define SYSLET_NR_ASYNC_UNREGISTER 0x10105

#ifndef SYSLET_NO_OLD_NAMES
#ifndef __NR_umem_add
#define __NR_umem_add SYSLET_NR_UMEM_ADD
#define __NR_async_exec SYSLET_NR_ASYNC_EXEC
#define __NR_async_wait SYSLET_NR_ASYNC_WAIT
#define __NR_async_thread SYSLET_NR_ASYNC_THREAD
#define __NR_async_register SYSLET_NR_ASYNC_REGISTER
#define __NR_async_unregister SYSLET_NR_ASYNC_UNREGISTER
#endif
#ifndef __NR_sys_umem_add
#define __NR_sys_umem_add SYSLET_NR_UMEM_ADD
#define __NR_sys_async_exec SYSLET_NR_ASYNC_EXEC
#define __NR_sys_async_wait SYSLET_NR_ASYNC_WAIT
#define __NR_sys_async_thread SYSLET_NR_ASYNC_THREAD
#define __NR_sys_async_register SYSLET_NR_ASYNC_REGISTER
#define __NR_sys_async_unregister SYSLET_NR_ASYNC_UNREGISTER
#endif
#define sys_async_exec async_exec
#define sys_async_wait async_wait
#define sys_async_thread async_thread
#define sys_async_register async_register
#define sys_async_unregister async_unregister
#define sys_umem_add umem_add
#endif

/* A program is bound to the functions of its layout when it is compiled. */
#if SYSLET_ABI == 6
#define SYSLET_SYMBOL(name)
#elif SYSLET_ABI == 3
#define SYSLET_SYMBOL(name) __asm__(name "_v3")
#else
#define SYSLET_SYMBOL(name) __asm__(name "_v1")
#endif

#if SYSLET_ABI == 1

/* Makes `ahu` the head of the calling thread. 0, -EFAULT, -EINVAL (size, ring), -EBUSY
 * (the thread has one). */
long async_register(struct async_head_user *ahu, unsigned long size)
    SYSLET_SYMBOL("async_register");
/* Waits until nothing of it is pending and takes it away. */
long async_unregister(struct async_head_user *ahu, unsigned long size)
    SYSLET_SYMBOL("async_unregister");
struct syslet_uatom *async_exec(struct syslet_uatom *atom) SYSLET_SYMBOL("async_exec");
long async_wait(unsigned long min_wait_events) SYSLET_SYMBOL("async_wait");

#else

/* Runs the syslet that begins at `atom`. Returns the last atom that ran; NULL if it
 * went on elsewhere and its end will be posted; or an error, see syslet_is_error:
 *   -EFAULT  an atom or a result's place cannot be reached, or the head cannot
 *   -EINVAL  the ring has no slot or no whole number of them
 *   -EAGAIN  every slot is taken or promised: clear completions, then try again; or as
 *            many syslets are pending as the library allows. Nothing has run
 *   -ENOMEM  no memory. Nothing has run
 *   -EBUSY   called from a signal handler inside async_exec. Nothing has run */
struct syslet_uatom *async_exec(struct syslet_uatom *atom, struct async_head_user *ahu)
    SYSLET_SYMBOL("async_exec");

/* Sleeps until `min_wait_events` slots from user_ring_idx on are filled, or nothing is
 * pending any more. 0, -EFAULT, -EINVAL, or -EINTR: a signal handler ran (with SA_RESTART
 * as well). */
long async_wait(unsigned long min_wait_events, unsigned long user_ring_idx,
                struct async_head_user *ahu) SYSLET_SYMBOL("async_wait");

/* For programs that register heads: checks `ahu`. 0, -EFAULT or -EINVAL. */
long async_register(struct async_head_user *ahu, unsigned long size)
    SYSLET_SYMBOL("async_register");
/* Waits until nothing of `ahu` is pending: its memory may be freed then. 0, -EINVAL, or
 * -EINTR: a signal handler ran, and it is as before. */
long async_unregister(struct async_head_user *ahu, unsigned long size)
    SYSLET_SYMBOL("async_unregister");

#endif

#if SYSLET_ABI == 1
/* Serves as a thread that carries on with syslets, for ever. -ENOMEM, -EBUSY. */
long async_thread(void) SYSLET_SYMBOL("async_thread");
#else
/* Posts `event` to the ring of `ahu` (unless it is NULL), then serves as a thread that
 * carries on with syslets, until `ahu` is unregistered (NULL: for ever), with signals
 * blocked. It may be cancelled (pthread_cancel). 0, or -EFAULT, -EINVAL, -EAGAIN (no
 * free slot), -ENOMEM, -EBUSY. */
long async_thread(void *event, struct async_head_user *ahu)
    SYSLET_SYMBOL("async_thread");
#endif

/* Adds to a word of the program and returns the sum; -EFAULT. Atomic. */
long umem_add(unsigned long *word, unsigned long increment);

/* --- not in the announcement ------------------------------------------------ */

/* Ends a pending syslet, named by the atom it was submitted with: the call that it
 * waits in is interrupted, no further atom runs, and the end is posted as any other.
 * The atom it ends at has the result -EINTR (interrupted) or -ECANCELED (was not
 * begun). -ENOENT: no such syslet is pending; it may have ended by itself. */
long syslet_cancel(struct syslet_uatom *atom, struct async_head_user *ahu)
    SYSLET_SYMBOL("syslet_cancel");

/* How many threads the library has at most (-1: its own limit), process-wide; idle ones
 * beyond it end. With 0, only threads that called async_thread carry on with syslets.
 * Returns the last. */
long syslet_threads_max(long count);

/* How unreadable memory is noticed: by a handler of SIGSEGV and SIGBUS that the library
 * installs with the first syslet and that passes on what is not its own; or by asking
 * the kernel before each access, which is slower and touches no signal. Call it before
 * the first syslet. Returns the last; -EBUSY: too late. */
enum syslet_faults { SYSLET_FAULTS_SIGNALS = 0, SYSLET_FAULTS_PROBES = 1 };
long syslet_faults(enum syslet_faults how);

static inline int
syslet_is_error(const void *result)
{
    return (uintptr_t)result >= (uintptr_t)-4095;
}

/* The negative errno of a result that is an error. */
static inline long
syslet_error(const void *result)
{
    return (long)(intptr_t)result;
}

#ifdef __cplusplus
}
#endif

#endif
