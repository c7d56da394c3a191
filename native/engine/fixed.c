/* Registered memory, see fixed.h. */
#include "fixed.h"

#include <errno.h>

#include "engine_private.h"

static int
tell_kernel(struct engine *engine, uint32_t index, void *memory, size_t size)
{
    int res = ring_buffer(&engine->ring, index, memory, size);
    if (res >= 0) {
        engine->fixed.entries[index].pinned = memory != NULL;
    }
    return res;
}

/* What others have given back from their threads. */
static void
let_go(struct engine *engine)
{
    for (uint32_t i = 0; i < FIXED_MAX; i++) {
        const struct fixed_memory *entry = &engine->fixed.entries[i];
        if (entry->pinned && entry->address == 0) {
            (void)tell_kernel(engine, i, NULL, 0);
        }
    }
}

static int
free_index(const struct fixed_table *table)
{
    for (int i = 0; i < FIXED_MAX; i++) {
        if (table->entries[i].address == 0) {
            return i;
        }
    }
    return -ENOSPC;
}

int
fixed_take(struct engine *engine, void *memory, size_t size)
{
    struct fixed_table *table = &engine->fixed;
    if (engine->backend != &backend_uring) {
        return -EOPNOTSUPP;
    }
    int res = table->made ? 0 : ring_buffers_make(&engine->ring, FIXED_MAX);
    if (res < 0) {
        return res;
    }
    table->made = true;
    let_go(engine);
    int index = free_index(table);
    res = index < 0 ? index : tell_kernel(engine, (uint32_t)index, memory, size);
    if (res < 0) {
        return res;
    }
    table->entries[index].address = (uintptr_t)memory;
    table->entries[index].size = size;
    table->count += 1;
    return index;
}

void
fixed_give(struct engine *engine, int index)
{
    struct fixed_memory *entry = &engine->fixed.entries[index];
    entry->address = 0; /* from now on nobody finds it, whatever is mapped there */
    engine->fixed.count -= 1;
    if (pthread_equal(engine->owner, pthread_self())) {
        (void)tell_kernel(engine, (uint32_t)index, NULL, 0);
    }
}

int
fixed_find(const struct engine *engine, uint64_t address, uint64_t size)
{
    const struct fixed_memory *entries = engine->fixed.entries;
    for (int i = 0; engine->fixed.count != 0 && i < FIXED_MAX; i++) {
        uint64_t offset = address - entries[i].address;
        if (entries[i].address != 0 && offset < entries[i].size &&
            size <= entries[i].size - offset) {
            return i;
        }
    }
    return -1;
}
