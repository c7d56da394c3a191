/* Flights: their memory, their fds, their states. See flight.h for the table. */
#define _GNU_SOURCE
#include "flight.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attempt.h"
#include "engine_private.h"
#include "handed.h"

/* --- memory ------------------------------------------------------------------- */

static size_t
flight_bytes(const struct plan *plan)
{
    size_t bits = (plan->atoms_count + 63) / 64;
    size_t words = plan->cells_count + bits;
    size_t bytes = sizeof(struct flight) + words * sizeof(uint64_t);
    return bytes + 63 + plan->scratch_bytes; /* the scratch is aligned, see below */
}

/* What the kernel executes, if anything of it is for the kernel. */
static const struct handed_plan *
plan_handed(const struct engine *engine, struct plan *plan)
{
    bool none = engine->device.fd < 0 || engine->device.off;
    return none ? NULL : handed_plan_of(plan, &engine->device);
}

static uint8_t
size_class_of(size_t bytes)
{
    uint8_t class = 0;
    while (class < SIZE_CLASSES && ((size_t)1 << (SIZE_CLASS_FIRST + class)) < bytes) {
        class += 1;
    }
    return class;
}

/* The size is hidden from gcc, which would make it `rep stos`, slow to start. */
static void
clear(struct flight *flight)
{
    size_t size = offsetof(struct flight, fds);
    __asm__("" : "+r"(size));
    memset(flight, 0, size);
}

static struct flight *
flight_allocate(struct engine *engine, const struct plan *plan,
                const struct handed_plan *handed)
{
    size_t bytes = flight_bytes(plan);
    bytes += handed != NULL ? handed->bytes + 15 : 0; /* aligned, see below */
    uint8_t class = size_class_of(bytes);
    assert(class < SIZE_CLASSES);
    struct flight *flight = engine->pool[class];
    if (flight != NULL) {
        engine->pool[class] = flight->link;
        engine->pooled[class] -= 1;
    } else {
        flight = malloc((size_t)1 << (SIZE_CLASS_FIRST + class));
        if (flight == NULL) {
            return NULL;
        }
    }
    clear(flight);
    flight->size_class = class;
    return flight;
}

static void
flight_recycle(struct flight *flight)
{
    struct engine *engine = flight->engine;
    uint8_t class = flight->size_class;
    if (engine->pooled[class] > (uint32_t)FLIGHTS_POOLED_MAX >> class / 2) {
        free(flight);
        return;
    }
    flight->link = engine->pool[class];
    engine->pool[class] = flight;
    engine->pooled[class] += 1;
}

/* Workers make buffers too. */
static void
memory_give(struct engine *engine, uint64_t size)
{
    __atomic_sub_fetch(&engine->memory, size, __ATOMIC_RELAXED);
}

static bool
memory_take(struct engine *engine, uint64_t size)
{
    uint64_t most = engine->options.memory_max;
    uint64_t now = __atomic_add_fetch(&engine->memory, size, __ATOMIC_RELAXED);
    if (most != 0 && now > most) {
        memory_give(engine, size);
        return false;
    }
    return true;
}

char *
flight_heap(struct flight *flight, uint64_t size)
{
    if (size > HEAP_BYTES_MAX || !memory_take(flight->engine, size)) {
        return NULL;
    }
    struct heap_block *block = malloc(sizeof(*block) + size);
    if (block == NULL) {
        memory_give(flight->engine, size);
        return NULL;
    }
    block->next = flight->heap;
    block->size = size;
    flight->heap = block;
    return block->memory;
}

uint64_t
flight_heap_size(const struct flight *flight, const char *memory)
{
    const struct heap_block *block = flight->heap;
    while (block != NULL && block->memory != memory) {
        block = block->next;
    }
    return block != NULL ? block->size : 0;
}

void
flight_heap_drop(struct flight *flight, const char *memory)
{
    struct heap_block **at = &flight->heap;
    while (*at != NULL && (*at)->memory != memory) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        struct heap_block *block = *at;
        *at = block->next;
        memory_give(flight->engine, block->size);
        free(block);
    }
}

static void
flight_heap_free(struct flight *flight)
{
    while (flight->heap != NULL) {
        struct heap_block *block = flight->heap;
        flight->heap = block->next;
        memory_give(flight->engine, block->size);
        free(block);
    }
}

/* --- preparing ------------------------------------------------------------------ */

/* Fixed buffers share the scratch while it lasts (plan_copy counted the same way). */
static int
place_buffers(struct flight *flight)
{
    const struct plan *plan = flight->plan;
    uint32_t used = 0;
    for (uint32_t i = 0; i < plan->buffers_count; i++) {
        const struct program_buffer *buffer = &plan->buffers[i];
        uint64_t size = buffer_scratch(buffer);
        char *memory;
        if (buffer->size == 0) {
            continue;
        }
        if (used + size <= plan->scratch_fixed) {
            memory = flight->scratch + used;
            used += (uint32_t)size;
        } else {
            memory = flight_heap(flight, size);
        }
        if (memory == NULL) {
            return -ENOMEM;
        }
        if (buffer->flags & BUFFER_ZEROED) {
            memset(memory, 0, buffer->size);
        }
        if (buffer->flags & BUFFER_ENDED) {
            memory[buffer->size] = 0;
        }
        flight->cells[buffer->address] = (uintptr_t)memory;
    }
    return 0;
}

static void
relocate(struct flight *flight)
{
    const struct plan *plan = flight->plan;
    for (uint32_t i = 0; i < plan->relocs_count; i++) {
        const struct program_reloc *reloc = &plan->relocs[i];
        if (reloc->kind == RELOC_CELL) {
            flight->cells[reloc->cell] = (uintptr_t)flight->cells + reloc->value;
        } else if (reloc->kind == RELOC_CONST) {
            flight->cells[reloc->cell] = (uintptr_t)plan->consts + reloc->value;
        }
    }
}

static void
lay_out_handed(struct flight *flight, const struct handed_plan *plan)
{
    uintptr_t behind = (uintptr_t)(flight->scratch + flight->plan->scratch_bytes);
    struct handed *handed = (struct handed *)((behind + 15) & ~(uintptr_t)15);
    handed->notes = (struct device_note *)(handed + 1);
    handed->words = (uint64_t *)(handed->notes + plan->notes_count);
    handed->atoms = (struct device_atom *)(handed->words + plan->words_count);
    handed->filled = false;
    flight->handed = handed;
}

static void
flight_lay_out(struct flight *flight, struct plan *plan)
{
    flight->cells = (uint64_t *)(flight + 1);
    flight->ran = flight->cells + plan->cells_count;
    size_t bits = (plan->atoms_count + 63) / 64;
    uintptr_t behind = (uintptr_t)(flight->ran + bits);
    flight->scratch = (char *)((behind + 63) & ~(uintptr_t)63);
    memcpy(flight->cells, plan->image, plan->cells_count * sizeof(uint64_t));
    memset(flight->ran, 0, bits * sizeof(uint64_t));
}

struct flight *
flight_prepare(struct engine *engine, struct plan *plan)
{
    if (engine->stats.prepared >= engine->options.flights_max || engine->closing) {
        return NULL;
    }
    const struct handed_plan *handed = plan_handed(engine, plan);
    struct flight *flight = flight_allocate(engine, plan, handed);
    if (flight == NULL) {
        return NULL;
    }
    plan_hold(plan);
    flight->engine = engine;
    flight->plan = plan;
    flight->state = PREPARED;
    flight->place = PLACE_HERE;
    flight->last = UINT32_MAX;
    flight->slot = SLOT_NONE;
    flight->own_fd = -1;
    flight->wait_fd = -1;
    flight->fds_count = 0;
    flight_lay_out(flight, plan);
    if (handed != NULL) {
        lay_out_handed(flight, handed);
    }
    engine->stats.prepared += 1;
    relocate(flight);
    if (plan->buffers_count != 0 && place_buffers(flight) < 0) {
        flight_release(flight);
        return NULL;
    }
    return flight;
}

/* --- fds ------------------------------------------------------------------------ */

int
flight_fd_own(struct flight *flight, int fd, uint16_t flags, uint64_t position)
{
    struct fd_slot *slot = flight_fd_find(flight, fd);
    if (slot != NULL) { /* dup3 onto it: the file behind the number is another one */
        *slot = (struct fd_slot){.fd = fd, .flags = flags, .position = position};
        return 0;
    }
    if (flight->fds_count == FDS_OWNED_MAX) {
        flight_call(flight, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
        return -EMFILE;
    }
    flight->fds[flight->fds_count++] =
        (struct fd_slot){.fd = fd, .flags = flags, .position = position};
    return 0;
}

struct fd_slot *
flight_fd_find(struct flight *flight, int fd)
{
    for (uint32_t i = 0; i < flight->fds_count; i++) {
        if (flight->fds[i].fd == fd) {
            return &flight->fds[i];
        }
    }
    return NULL;
}

void
flight_fd_forget(struct flight *flight, int fd)
{
    struct fd_slot *slot = flight_fd_find(flight, fd);
    if (slot != NULL) {
        *slot = flight->fds[--flight->fds_count];
    }
}

int
flight_fd_take(struct flight *flight, int fd)
{
    struct fd_slot *slot = flight_fd_find(flight, fd);
    if (slot == NULL) {
        return -EBADF;
    }
    fd_make_blocking(flight, slot);
    *slot = flight->fds[--flight->fds_count];
    return 0;
}

static void
flight_fds_close(struct flight *flight)
{
    while (flight->fds_count != 0) {
        int fd = flight->fds[--flight->fds_count].fd;
        flight_call(flight, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
    }
}

/* --- states --------------------------------------------------------------------- */

bool
flight_is_ending(const struct flight *flight)
{
    return flight->state == CANCELLING || flight->state == ORPHANED;
}

void
flight_fly(struct flight *flight)
{
    assert(flight->state == PREPARED);
    struct engine *engine = flight->engine;
    flight->state = FLYING;
    flight->following = engine->in_air;
    flight->previous = NULL;
    if (engine->in_air != NULL) {
        engine->in_air->previous = flight;
    }
    engine->in_air = flight;
    engine->stats.launched += 1;
    engine->stats.flying += 1;
    if (__builtin_expect(engine->trace != NULL, 0)) {
        trace_flew(flight);
    }
}

void
flight_land(struct flight *flight)
{
    assert(flight->state == FLYING || flight_is_ending(flight));
    assert(flight->slot == SLOT_NONE);
    struct engine *engine = flight->engine;
    if (__builtin_expect(engine->trace != NULL, 0)) {
        trace_landed(flight);
    }
    if (flight->previous != NULL) {
        flight->previous->following = flight->following;
    } else {
        engine->in_air = flight->following;
    }
    if (flight->following != NULL) {
        flight->following->previous = flight->previous;
    }
    flight->place = PLACE_HERE;
    engine->stats.landed += 1;
    engine->stats.flying -= 1;
    flight->ended_itself = flight->state == FLYING;
    engine->stats.atoms += flight->atoms;
    flight->state = LANDED;
}

static void
flight_end_early(struct flight *flight, enum flight_state state)
{
    if (flight->state == CANCELLING && state == ORPHANED) {
        flight->state = ORPHANED;
        return;
    }
    if (flight->state != FLYING) {
        return;
    }
    flight->state = state;
    struct engine *engine = flight->engine;
    switch (flight->place) {
    case PLACE_RING:
        engine->backend->cancel(flight);
        break;
    case PLACE_WORKER:
        workers_interrupt(flight);
        break;
    case PLACE_PAUSED:
        engine_ready(engine, flight); /* lands there, in the next turn */
        break;
    case PLACE_READY:
    case PLACE_HERE:
        break;
    }
}

void
flight_cancel(struct flight *flight)
{
    flight_end_early(flight, CANCELLING);
}

void
flight_abandon(struct flight *flight)
{
    flight_end_early(flight, ORPHANED);
}

void
flight_resume(struct flight *flight)
{
    if (flight->place == PLACE_PAUSED) {
        engine_ready(flight->engine, flight);
    }
}

void
flight_release(struct flight *flight)
{
    assert(flight->state == LANDED || flight->state == PREPARED);
    struct engine *engine = flight->engine;
    flight_fds_close(flight);
    flight_heap_free(flight);
    free(flight->vector);
    plan_drop(flight->plan);
    engine->stats.prepared -= 1;
    flight_recycle(flight);
}

/* --- what hosts read ------------------------------------------------------------ */

uint64_t *
flight_cells(struct flight *flight)
{
    return flight->cells;
}

void
flight_host_set(struct flight *flight, void *host)
{
    flight->host = host;
}

void *
flight_host(const struct flight *flight)
{
    return flight->host;
}

enum flight_end
flight_end(const struct flight *flight)
{
    assert(flight->state == LANDED);
    return flight->ended_itself ? FLIGHT_ENDED : FLIGHT_CANCELLED;
}

uint32_t
flight_last_atom(const struct flight *flight)
{
    return flight->last;
}

int64_t
flight_last_result(const struct flight *flight)
{
    return flight->result;
}

enum flight_path
flight_path_taken(const struct flight *flight)
{
    return flight->path;
}

bool
flight_atom_ran(const struct flight *flight, uint32_t index)
{
    return (flight->ran[index / 64] >> (index % 64)) & 1;
}

/* --- user memory ---------------------------------------------------------------- */

/* Where a filter forbids process_vm_readv: through a pipe. A bad address is -EFAULT
 * there as well. */
static int64_t
copy_through_pipe(struct flight *flight, uint64_t to, uint64_t from, size_t size)
{
    int pipe[2];
    int64_t res = flight_call(flight, __NR_pipe2, (uintptr_t)pipe,
                              O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0);
    if (res < 0) {
        return res;
    }
    res = flight_call(flight, __NR_write, (uint64_t)pipe[1], from, size, 0, 0, 0);
    if (res == (int64_t)size) {
        res = flight_call(flight, __NR_read, (uint64_t)pipe[0], to, size, 0, 0, 0);
    }
    flight_call(flight, __NR_close, (uint64_t)pipe[0], 0, 0, 0, 0, 0);
    flight_call(flight, __NR_close, (uint64_t)pipe[1], 0, 0, 0, 0, 0);
    return res;
}

/* Our own memory through the kernel: a bad address is -EFAULT, not a fault. */
static int
memory_copy(struct flight *flight, long nr, uint64_t mine, uint64_t theirs, size_t size)
{
    struct iovec local = {(void *)(uintptr_t)mine, size};
    struct iovec remote = {(void *)(uintptr_t)theirs, size};
    int64_t pid = flight_call(flight, __NR_getpid, 0, 0, 0, 0, 0, 0);
    int64_t res = flight_call(flight, nr, (uint64_t)pid, (uintptr_t)&local, 1,
                              (uintptr_t)&remote, 1, 0);
    if (res == -EPERM || res == -ENOSYS || res == -EACCES) {
        bool reads = nr == __NR_process_vm_readv;
        res = copy_through_pipe(flight, reads ? mine : theirs, reads ? theirs : mine,
                                size);
    }
    return res == (int64_t)size ? 0 : -EFAULT;
}

/* What a program made of its own cells, as most structures are, is there for sure. */
static bool
is_in_cells(const struct flight *flight, uint64_t address, size_t size)
{
    uint64_t offset = address - (uintptr_t)flight->cells;
    uint64_t bytes = flight->plan->cells_count * sizeof(uint64_t);
    return offset < bytes && size <= bytes - offset;
}

int
memory_read(struct flight *flight, void *to, uint64_t from, size_t size)
{
    if (is_in_cells(flight, from, size)) {
        memcpy(to, (const void *)(uintptr_t)from, size);
        return 0;
    }
    return memory_copy(flight, __NR_process_vm_readv, (uintptr_t)to, from, size);
}

int
memory_write(struct flight *flight, uint64_t to, const void *from, size_t size)
{
    return memory_copy(flight, __NR_process_vm_writev, (uintptr_t)from, to, size);
}
