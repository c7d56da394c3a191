/* Slots: numbers for what requests belong to, see slots.h. */
#include "slots.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum { SLOTS_FIRST = 64, INDEX_BITS = 20, GENERATION_SHIFT = 24 };

#define GENERATION_MASK ((UINT64_C(1) << (64 - GENERATION_SHIFT)) - 1)

void
slots_open(struct slots *slots, uint32_t count_max)
{
    assert(count_max <= 1u << INDEX_BITS);
    *slots = (struct slots){.free = SLOT_FREE_END, .count_max = count_max};
}

void
slots_close(struct slots *slots)
{
    free(slots->table);
    slots->table = NULL;
    slots->count = 0;
    slots->free = SLOT_FREE_END;
}

static int
slots_grow(struct slots *slots)
{
    uint32_t count = slots->count ? slots->count * 2 : SLOTS_FIRST;
    if (count > slots->count_max) {
        return -ENOMEM;
    }
    struct slot *table = realloc(slots->table, count * sizeof(*table));
    if (table == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = slots->count; i < count; i++) {
        table[i] = (struct slot){.generation = 1, .next_free = i + 1};
    }
    table[count - 1].next_free = SLOT_FREE_END;
    slots->free = slots->count;
    slots->table = table;
    slots->count = count;
    return 0;
}

int
slots_take(struct slots *slots, void *holder, uint32_t *index)
{
    if (slots->free == SLOT_FREE_END && slots_grow(slots) < 0) {
        return -ENOMEM;
    }
    struct slot *slot = &slots->table[slots->free];
    *index = slots->free;
    slots->free = slot->next_free;
    slot->holder = holder;
    return 0;
}

void
slots_give(struct slots *slots, uint32_t index)
{
    struct slot *slot = &slots->table[index];
    assert(index < slots->count && slot->holder != NULL);
    slot->holder = NULL;
    slot->generation += 1;
    slot->next_free = slots->free;
    slots->free = index;
}

uint64_t
slots_mark(const struct slots *slots, uint32_t index)
{
    return (uint64_t)index << 4 | slots->table[index].generation << GENERATION_SHIFT;
}

void *
slots_find(const struct slots *slots, uint64_t user_data)
{
    uint32_t index = (uint32_t)(user_data >> 4) & ((1u << INDEX_BITS) - 1);
    if (index >= slots->count) {
        return NULL;
    }
    const struct slot *slot = &slots->table[index];
    bool current =
        (slot->generation & GENERATION_MASK) == user_data >> GENERATION_SHIFT;
    return current ? slot->holder : NULL;
}
