/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Time, files, threads and children for the tests.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>

#include "suite.h"

int check_fd = 1;

_Noreturn void
check_failed(const char *file, int line, const char *what, long long got,
             long long wanted)
{
    if (got != wanted)
        dprintf(check_fd, "  %s:%d: %s is %lld, not %lld\n", file, line, what, got,
                wanted);
    else
        dprintf(check_fd, "  %s:%d: %s\n", file, line, what);
    _exit(1);
}

void
sleep_ms(int ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000L};

    while (nanosleep(&left, &left) && errno == EINTR)
        ;
}

uint64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int
workers(void)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    char path[64], name[32];
    int fd, found = 0;

    CHECK(folder);
    while ((entry = readdir(folder))) {
        snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", entry->d_name);
        fd = open(path, O_RDONLY);
        if (fd < 0)
            continue;
        ssize_t got = read(fd, name, sizeof(name) - 1);
        if (got > 0 && !strncmp(name, "iou-wrk", 7))
            found++;
        close(fd);
    }
    closedir(folder);
    return found;
}

void
make_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    CHECK(fd >= 0);
    EQUAL(write(fd, bytes, size), size);
    close(fd);
}

int
child(int (*body)(void *), void *context)
{
    int pid;

    fflush(stdout);
    pid = fork();
    CHECK(pid >= 0);
    if (!pid)
        _exit(body(context));
    return pid;
}

int
reap(int pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
