/* Slots: numbers for what requests belong to, which never mean the next owner.
 *
 * A request carries a slot's number and its generation in user_data. Giving a slot back
 * counts the generation up, so a completion that comes late finds nobody, whoever has
 * the slot by then. One table for flights, one for watches; the engine's thread only. */
#ifndef SYSLET_SLOTS_H
#define SYSLET_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

enum { SLOT_FREE_END = UINT32_MAX };

struct slot {
    void *holder; /* borrowed; NULL: free */
    uint64_t generation;
    uint32_t next_free;
};

struct slots {
    struct slot *table; /* owned */
    uint32_t count, free, count_max;
};

void slots_open(struct slots *slots, uint32_t count_max);
void slots_close(struct slots *slots);
/* -ENOMEM: no memory, or count_max are taken. */
int slots_take(struct slots *slots, void *holder, uint32_t *index);
void slots_give(struct slots *slots, uint32_t index);
/* Index and generation as the upper 60 bits of user_data. */
uint64_t slots_mark(const struct slots *slots, uint32_t index);
void *slots_find(const struct slots *slots, uint64_t user_data); /* NULL: stale */

#endif
