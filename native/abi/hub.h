/* A hub: the ends of syslets for a host that has a loop, by eventfd instead of a ring.
 *
 * Each syslet has a ticket of the host's. All functions may be called from any thread;
 * a hub is freed by whoever made it. In a forked child it can only be freed. Used by
 * syslet_loop/abi.py through cffi; not a part of the installed interface. */
#ifndef SYSLET_HUB_H
#define SYSLET_HUB_H

#include <stdint.h>

struct hub;

/* NULL: no memory or no descriptor; errno says which. */
struct hub *hub_new(void);
int hub_fd(const struct hub *hub); /* readable while hub_take has something to give */

/* Runs the syslet that begins at `atom`. The address of the last atom; 0: its end comes
 * by hub_take; or -errno, as async_exec (there is no ring that could be full). */
int64_t hub_exec(struct hub *hub, uint64_t atom, uint64_t ticket);

/* 1: *ticket has ended; 0: nothing has. *end: 0, -EFAULT or -ECANCELED. */
int hub_take(struct hub *hub, uint64_t *ticket, uint64_t *last, int *end);

/* It is to end soon; its end still comes by hub_take. -ENOENT: it has ended. */
int hub_cancel(struct hub *hub, uint64_t ticket);

/* Sleeps until hub_take has something to give. 0: nothing is pending either. */
int hub_wait(struct hub *hub);

/* -EBUSY: something is pending or not taken. */
int hub_free(struct hub *hub);

#endif
