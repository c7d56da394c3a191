/* Hubs, see hub.h. A hub's lock is the lock of the syslets that are pending for it. */
#define _GNU_SOURCE
#include "hub.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "abi.h"

struct hub {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended;
    struct syslet *first;                    /* pending; borrowed from the pool */
    struct syslet *ended_first, *ended_last; /* owned */
    uint32_t pending;
    int fd; /* owned */
    pid_t pid;
};

struct hub *
hub_new(void)
{
    struct hub *hub = calloc(1, sizeof(*hub));
    if (hub == NULL) {
        return NULL;
    }
    hub->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (hub->fd < 0) {
        free(hub);
        return NULL;
    }
    pthread_mutex_init(&hub->lock, NULL);
    pthread_cond_init(&hub->ended, NULL);
    hub->pid = getpid();
    return hub;
}

int
hub_fd(const struct hub *hub)
{
    return hub->fd;
}

int64_t
hub_exec(struct hub *hub, uint64_t atom, uint64_t ticket)
{
    return abi_exec(atom, 0, ABI_V6, hub, ticket);
}

void
hub_adopt(struct hub *hub, struct syslet *syslet)
{
    pthread_mutex_lock(&hub->lock);
    syslet->hub = hub;
    syslet->lock = &hub->lock;
    syslet->previous = NULL;
    syslet->following = hub->first;
    if (hub->first != NULL) {
        hub->first->previous = syslet;
    }
    hub->first = syslet;
    hub->pending += 1;
    pthread_mutex_unlock(&hub->lock);
}

/* The write is under the lock: nobody may free the hub before it is done. */
void
hub_land(struct syslet *syslet)
{
    struct hub *hub = syslet->hub;
    const uint64_t one = 1;
    pthread_mutex_lock(&hub->lock);
    if (syslet->previous != NULL) {
        syslet->previous->following = syslet->following;
    } else {
        hub->first = syslet->following;
    }
    if (syslet->following != NULL) {
        syslet->following->previous = syslet->previous;
    }
    syslet->link = NULL;
    if (hub->ended_first == NULL) {
        hub->ended_first = syslet;
        ssize_t written = write(hub->fd, &one, sizeof(one));
        (void)written; /* full means readable, which is all that is wanted */
    } else {
        hub->ended_last->link = syslet;
    }
    hub->ended_last = syslet;
    hub->pending -= 1;
    pthread_cond_broadcast(&hub->ended);
    pthread_mutex_unlock(&hub->lock);
}

int
hub_take(struct hub *hub, uint64_t *ticket, uint64_t *last, int *end)
{
    uint64_t count;
    pthread_mutex_lock(&hub->lock);
    struct syslet *syslet = hub->ended_first;
    if (syslet != NULL) {
        hub->ended_first = syslet->link;
        *ticket = syslet->ticket;
        *last = syslet->last;
        *end = syslet->end;
        syslet_free(syslet);
    }
    if (hub->ended_first == NULL) {
        ssize_t got = read(hub->fd, &count, sizeof(count));
        (void)got; /* empty already */
    }
    pthread_mutex_unlock(&hub->lock);
    return syslet != NULL;
}

int
hub_cancel(struct hub *hub, uint64_t ticket)
{
    struct abi_thread *thread = abi_thread_get();
    if (thread == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&hub->lock);
    struct syslet *syslet = hub->first;
    while (syslet != NULL && syslet->ticket != ticket) {
        syslet = syslet->following;
    }
    bool ours = syslet != NULL && pool_interrupt(syslet);
    pthread_mutex_unlock(&hub->lock);
    if (ours) {
        interpret_cancelled(thread, syslet);
        hub_land(syslet);
    }
    return syslet != NULL ? 0 : -ENOENT;
}

int
hub_wait(struct hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    while (hub->ended_first == NULL && hub->pending != 0) {
        pthread_cond_wait(&hub->ended, &hub->lock);
    }
    int is_there = hub->ended_first != NULL;
    pthread_mutex_unlock(&hub->lock);
    return is_there;
}

int
hub_free(struct hub *hub)
{
    /* In a child the lock may be another thread's for ever. */
    if (hub->pid == getpid()) {
        pthread_mutex_lock(&hub->lock);
        bool busy = hub->pending != 0 || hub->ended_first != NULL;
        pthread_mutex_unlock(&hub->lock);
        if (busy) {
            return -EBUSY;
        }
        pthread_cond_destroy(&hub->ended);
        pthread_mutex_destroy(&hub->lock);
    }
    close(hub->fd);
    free(hub);
    return 0;
}
