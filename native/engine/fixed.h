/* Memory that a host has registered with an engine's ring, so that the kernel need not
 * pin it again for each request (docs/rationale.md, "Registered buffers").
 *
 * Registering is an offer: whoever is refused, or has an engine without a ring, does
 * the same reads and writes without it. Called with the host's lock held: by the binding
 * on the engine's thread, except where another one is allowed below, and by prepare.c
 * and depart.c. Nothing here knows who owns the memory: it stays mapped until fixed_give
 * has returned. */
#ifndef SYSLET_FIXED_H
#define SYSLET_FIXED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

struct engine;

struct fixed_memory { /* one entry of the ring's table of buffers */
    uint64_t address; /* lent to the kernel until given back; 0: nobody's */
    uint64_t size;
    bool pinned; /* the kernel has pages under this index, maybe of an older lender */
};

struct fixed_table {
    struct fixed_memory entries[FIXED_MAX];
    uint32_t count; /* entries with an address */
    bool made;      /* the ring has a table */
};

/* Registers memory: its index, or -EOPNOTSUPP (no ring), -ENOSPC (the table is full), or
 * what the kernel says: -ENOMEM is the limit of locked memory. */
int fixed_take(struct engine *engine, void *memory, size_t size);

/* Takes it out. Requests under way keep the pages. On another thread than the engine's
 * it is only no longer used; the kernel lets go of the pages when something else is
 * registered, or with the ring. */
void fixed_give(struct engine *engine, int index);

/* Whose index has all of this memory; -1: nobody's. */
int fixed_find(const struct engine *engine, uint64_t address, uint64_t size);

#endif
