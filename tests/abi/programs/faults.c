/* Addresses that lead nowhere, noticed by signals: -EFAULT, never a crash; a program's
 * own handler of SIGSEGV still sees its own faults. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

static struct test_head head;
static sigjmp_buf back;
static volatile int own_faults;
static void *volatile moving; /* a page that comes and goes */
static volatile int done;

static void
own_handler(int number)
{
    (void)number;
    own_faults += 1;
    siglongjmp(back, 1);
}

static void
fault_by_ourselves(void)
{
    int before = own_faults;
    if (sigsetjmp(back, 1) == 0) {
        *(volatile char *)8 = 1;
    }
    CHECK(own_faults == before + 1);
}

static uint64_t
finish(struct syslet_uatom *atom)
{
    struct syslet_uatom *last = async_exec(atom, &head.user);
    return last != NULL ? (uintptr_t)last : head_take(&head);
}

static void
bad_addresses(unsigned flags)
{
    static const uint64_t bad[] = {8, 0x7ffffffff000, 1UL << 63, -8UL};
    struct call call, next;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct syslet_uatom *nowhere = (struct syslet_uatom *)(uintptr_t)bad[i];
        CHECK(syslet_error(async_exec(nowhere, &head.user)) == -EFAULT);
        call_init(&call, SYS_getpid, flags, ARGS(0));
        call.atom.arg_ptr[0] = bad[i];
        call.atom.next = AT(next.atom);
        call_init(&next, SYSLET_NR_UMEM_ADD, 0, ARGS(bad[i], 1));
        CHECK(finish(&call.atom) == AT(next.atom));
        CHECK(call.result == -EFAULT && next.result == -EFAULT);
        CHECK(syslet_error(async_exec(&call.atom, (void *)(uintptr_t)bad[i])) ==
              -EFAULT);
        CHECK(umem_add((void *)(uintptr_t)bad[i], 1) == -EFAULT);
        call.atom.arg_ptr[0] = 0;
        call.atom.next = bad[i];
        uint64_t found = finish(&call.atom);
        CHECK(found == (flags ? AT(call.atom) : (uint64_t)-EFAULT));
        call.atom.next = 0;
        call.atom.ret_ptr = bad[i];
        found = finish(&call.atom);
        CHECK(found == (flags ? AT(call.atom) : (uint64_t)-EFAULT));
    }
}

static void *
move_page(void *page)
{
    while (!done) {
        CHECK(munmap(page, 4096) == 0);
        sched_yield();
        void *again = mmap(page, 4096, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        CHECK(again == page);
        sched_yield();
    }
    return NULL;
}

/* Atoms, words, results and iovecs on a page that another thread unmaps meanwhile. */
static void
race(void)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t mover;
    moving = page;
    CHECK(pthread_create(&mover, NULL, move_page, page) == 0);
    long faults = 0;
    for (int i = 0; i < 20000 || faults == 0; i++) {
        struct call call;
        call_init(&call, SYSLET_NR_UMEM_ADD, i % 8 ? 0 : SYSLET_ASYNC,
                  ARGS((uintptr_t)page + 64, 1));
        call.atom.next = i % 3 ? 0 : (uintptr_t)page + 128;
        call.atom.arg_ptr[1] = i % 2 ? (uintptr_t)page : call.atom.arg_ptr[1];
        call.atom.ret_ptr = i % 5 ? (uintptr_t)page + 8 : call.atom.ret_ptr;
        uint64_t found = finish(&call.atom);
        faults += found == (uint64_t)-EFAULT;
        CHECK(head_take(&head) == 0);
    }
    done = 1;
    pthread_join(mover, NULL);
    munmap(page, 4096);
}

static void *
with_signals_blocked(void *unused)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    CHECK(syslet_error(async_exec((void *)8, &head.user)) == -EFAULT);
    return unused;
}

int
main(void)
{
    struct sigaction own = {.sa_handler = own_handler};
    pthread_t other;
    head_init(&head);
    sigaction(SIGSEGV, &own, NULL); /* before the library's */
    CHECK(syslet_faults(SYSLET_FAULTS_SIGNALS) == SYSLET_FAULTS_SIGNALS);
    fault_by_ourselves();
    bad_addresses(0);
    bad_addresses(SYSLET_ASYNC);
    CHECK(syslet_faults(SYSLET_FAULTS_PROBES) == -EBUSY);
    fault_by_ourselves();
    CHECK(pthread_create(&other, NULL, with_signals_blocked, NULL) == 0);
    pthread_join(other, NULL);
    race();
    fault_by_ourselves();
    puts("no crash");
    return 0;
}
