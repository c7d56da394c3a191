/* The announcement's own test: open, read, close of 1000 small random files.
 *
 *   async_test FOLDER [ROUNDS] [keep]
 *
 * Makes the files in FOLDER, reads them by plain calls and by one syslet each, in turns,
 * and prints the announcement's table with its figures beside ours (the best of ROUNDS,
 * 15). Uncached rounds need the right to write /proc/sys/vm/drop_caches; without it, or with
 * "keep", only the pages of the files are dropped. Exits 1 if a syslet did not read what
 * is in its file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslet.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 1000, SIZE_MAX_BYTES = 4096, RING = 1024, ROUNDS_MAX = 100000 };

struct file { /* the syslet that reads it, and what came of it */
    struct syslet_uatom open, read, close;
    unsigned long path_address, buffer_address;
    long fd, count, closed;
    char path[8];
    long size;
    unsigned char byte; /* what it is filled with */
};

static struct file *files;              /* owned */
static char (*buffers)[SIZE_MAX_BYTES]; /* owned: one for each */
static unsigned long folder = (unsigned long)AT_FDCWD, flags = O_RDONLY,
                     room = SIZE_MAX_BYTES; /* arguments that all share */
static uint64_t ring[RING];
static struct async_head_user head = {
    .completion_ring_ptr = (uintptr_t)ring,
    .ring_size_bytes = sizeof(ring),
};

static double
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static void
make_file(struct file *file, int number)
{
    snprintf(file->path, sizeof(file->path), "%04d", number);
    file->size = 1 + random() % SIZE_MAX_BYTES;
    file->byte = (unsigned char)random();
    char *buffer = buffers[number];
    memset(buffer, file->byte, SIZE_MAX_BYTES);
    int fd = open(file->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, buffer, (size_t)file->size) != file->size) {
        die(file->path);
    }
    close(fd);
}

#define AT(field) ((uintptr_t)(file) + offsetof(struct file, field))

static void
make_syslet(struct file *file, char *buffer)
{
    file->path_address = AT(path);
    file->buffer_address = (uintptr_t)buffer;
    file->open = (struct syslet_uatom){
        .nr = SYS_openat,
        .flags = SYSLET_STOP_ON_NEGATIVE,
        .ret_ptr = AT(fd),
        .next = AT(read),
        .arg_ptr = {(uintptr_t)&folder, AT(path_address), (uintptr_t)&flags},
    };
    file->read = (struct syslet_uatom){
        .nr = SYS_read,
        .flags = 0,
        .ret_ptr = AT(count),
        .next = AT(close),
        .arg_ptr = {AT(fd), AT(buffer_address), (uintptr_t)&room},
    };
    file->close = (struct syslet_uatom){
        .nr = SYS_close,
        .ret_ptr = AT(closed),
        .arg_ptr = {AT(fd)},
    };
}

static void
read_plainly(void)
{
    for (int i = 0; i < FILES; i++) {
        struct file *file = &files[i];
        int fd = open(file->path, O_RDONLY);
        file->count = read(fd, buffers[i], SIZE_MAX_BYTES);
        close(fd);
    }
}

/* All of them at once; those that had to wait are taken from the ring at the end. */
static long
read_by_syslets(void)
{
    long missed = 0;
    for (int i = 0; i < FILES; i++) {
        struct syslet_uatom *last = async_exec(&files[i].open, &head);
        if (syslet_is_error(last)) {
            exit(1);
        }
        missed += last == NULL;
    }
    for (long taken = 0; taken < missed;) {
        async_wait(1, head.user_ring_idx, &head);
        while (ring[head.user_ring_idx] != 0) {
            ring[head.user_ring_idx] = 0;
            head.user_ring_idx = (head.user_ring_idx + 1) % RING;
            taken += 1;
        }
    }
    return missed;
}

static void
check(void)
{
    for (int i = 0; i < FILES; i++) {
        struct file *file = &files[i];
        if (file->count != file->size ||
            (unsigned char)buffers[i][file->size - 1] != file->byte) {
            fprintf(stderr, "%s: %ld bytes of %ld fd %ld\n", file->path, file->count,
                    file->size, file->fd);
            exit(1);
        }
        file->count = -1;
        memset(buffers[i], 0, sizeof(buffers[i]));
    }
}

static double
least(double a, double b)
{
    return a < b ? a : b;
}

static void
keep_caches(void)
{
}

static void
drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
    if (fd < 0 || write(fd, "3", 1) != 1) {
        die("/proc/sys/vm/drop_caches");
    }
    close(fd);
}

static void
drop_pages(void)
{
    for (int i = 0; i < FILES; i++) {
        int fd = open(files[i].path, O_RDONLY);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
}

static void
measure(const char *name, const char *theirs, void (*before_each)(void), int rounds)
{
    double before = 1e9, after = 1e9;
    long missed = 0;
    for (int round = 0; round < rounds; round++) {
        before_each();
        double start = now_ms();
        read_plainly();
        before = least(before, now_ms() - start);
        check();
        before_each();
        start = now_ms();
        missed = read_by_syslets();
        after = least(after, now_ms() - start);
        check();
    }
    printf("%-9s %9.3f ms | %9.3f ms  ( %+.1f%% )   %s   %4ld missed\n", name, before,
           after, (before / after - 1) * 100, theirs, missed);
}

int
main(int argc, char **argv)
{
    int rounds = argc > 2 ? atoi(argv[2]) : 15;
    if (argc < 2 || argc > 4 || chdir(argv[1]) != 0 || rounds < 1 ||
        rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: async_test FOLDER [ROUNDS]\n");
        return 2;
    }
    files = calloc(FILES, sizeof(*files));
    buffers = calloc(FILES, sizeof(*buffers));
    if (files == NULL || buffers == NULL) {
        die("memory");
    }
    srandom(1);
    for (int i = 0; i < FILES; i++) {
        make_file(&files[i], i);
        make_syslet(&files[i], buffers[i]);
    }
    printf("          synchronous   |  syslets                     announced, 2007\n");
    int drops = argc < 4 && access("/proc/sys/vm/drop_caches", W_OK) == 0;
    if (drops) {
        sync(); /* what is dirty cannot be dropped */
    }
    measure("uncached:", "45.8 s  | 34.2 s  ( +33.9% )",
            drops ? drop_caches : drop_pages, rounds);
    measure("cached:", "31.6 ms | 26.5 ms ( +19.2% )", keep_caches, rounds);
    for (int i = 0; i < FILES; i++) {
        unlink(files[i].path);
    }
    free(buffers);
    free(files);
    return 0;
}
