/* For test programs with threads: until others sleep in the kernel. Only of those is
 * known that they have done what they were to do before. */
#ifndef ASLEEP_H
#define ASLEEP_H

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* gone: what to say of a thread that has ended. */
static inline int
is_asleep(long tid, int gone)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return gone;
    }
    if (fgets(line, sizeof(line), file) != NULL) {
        gone = strncmp(strrchr(line, ')'), ") S", 3) == 0;
    }
    fclose(file);
    return gone;
}

/* tid: atomic, 0 until that thread has begun. */
static inline void
wait_until_asleep(const pid_t *tid)
{
    pid_t who;
    while ((who = __atomic_load_n(tid, __ATOMIC_SEQ_CST)) == 0 || !is_asleep(who, 0)) {
        sched_yield();
    }
}

static inline int
others_are_asleep(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int all = tasks != NULL;
    while (all && (task = readdir(tasks)) != NULL) {
        long tid = strtol(task->d_name, NULL, 10);
        all = tid == 0 || tid == syscall(SYS_gettid) || is_asleep(tid, 1);
    }
    closedir(tasks);
    return all;
}

static inline void
wait_until_others_sleep(void)
{
    while (!others_are_asleep()) {
        sched_yield();
    }
}

#endif
