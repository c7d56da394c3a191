/* Which memory is the flight's, for a kernel that must not leave it; see fuzz.h.
 *
 * An oracle for the verifier, written from program.h alone. An address that lies in a
 * cell of the program's tables has a span, and nothing may be touched beside it. Other
 * addresses are plain numbers to the verifier: memory that is not there answers -EFAULT,
 * as a kernel does. */
#include "fuzz.h"

#include <string.h>

struct span {
    uint64_t at, size;
    bool writable;
};

struct fuzz_roles fuzz_roles;
static uint64_t hosts[FUZZ_HOSTS_MAX][FUZZ_HOST_BYTES / 8];

void
fuzz_roles_find(const struct program *program)
{
    memset(&fuzz_roles, 0, sizeof(fuzz_roles));
    fuzz_roles.program = program;
    for (uint32_t i = 0; i < program->relocs_count; i++) {
        const struct program_reloc *reloc = &program->relocs[i];
        fuzz_roles.kinds[reloc->cell] = (uint8_t)reloc->kind;
        fuzz_roles.values[reloc->cell] = reloc->value;
    }
    for (uint32_t i = 0; i < program->buffers_count; i++) {
        fuzz_roles.kinds[program->buffers[i].address] = RELOC_BUFFER;
        fuzz_roles.buffers[program->buffers[i].address] = (uint8_t)(i + 1);
        if (program->buffers[i].size == 0) {
            fuzz_roles.inputs[program->buffers[i].capacity] = 1; /* not to be written */
        }
    }
    for (uint32_t i = 0; i < program->inputs_count; i++) {
        fuzz_roles.inputs[program->inputs[i]] = 1;
    }
}

/* The host keeps its word: as much memory as it promised, and lengths that fit. */
void
fuzz_hosts_fill(struct flight *flight)
{
    uint32_t used = 0;
    memset(hosts, 'h', sizeof(hosts));
    for (uint32_t cell = 1; cell < fuzz_roles.program->cells_count; cell++) {
        if (fuzz_roles.kinds[cell] == RELOC_HOST) {
            char *memory = (char *)hosts[used++ % FUZZ_HOSTS_MAX];
            memory[FUZZ_HOST_BYTES - 1] = '\0';
            flight->cells[cell] = (uintptr_t)memory;
        }
    }
    for (uint32_t i = 0; i < fuzz_roles.program->inputs_count; i++) {
        uint32_t value = fuzz_decide(FUZZ_HOST_BYTES + 1);
        flight->cells[fuzz_roles.program->inputs[i]] = value;
    }
}

static uint64_t
buffer_size(const struct flight *flight, uint32_t number)
{
    const struct program_buffer *buffer = &fuzz_roles.program->buffers[number];
    return buffer->size != 0 ? buffer->size : flight->cells[buffer->capacity];
}

/* All that the engine has not cleared is what an earlier flight left there. */
void
fuzz_dirty(struct flight *flight)
{
    const struct plan *plan = flight->plan;
    char *scratch = flight->scratch + plan->scratch_fixed;
    memset(scratch, SECRET, plan->scratch_bytes - plan->scratch_fixed);
    for (uint32_t i = 0; i < plan->buffers_count; i++) {
        const struct program_buffer *buffer = &plan->buffers[i];
        if (buffer->size != 0 && !(buffer->flags & BUFFER_ZEROED)) {
            memset((char *)(uintptr_t)flight->cells[buffer->address], SECRET,
                   buffer->size);
        }
    }
}

/* Cells up to the next one that the host or the engine has filled. */
static uint64_t
cells_behind(uint64_t first, bool writes)
{
    uint64_t end = first;
    while (end < fuzz_roles.program->cells_count && fuzz_roles.kinds[end] == 0 &&
           !(writes && fuzz_roles.inputs[end])) {
        end += 1;
    }
    return end - first;
}

static bool
span_of(const struct flight *flight, uint32_t cell, bool writes, struct span *span)
{
    const struct program *p = fuzz_roles.program;
    uint64_t value = fuzz_roles.values[cell];
    switch (fuzz_roles.kinds[cell]) {
    case RELOC_CELL:
        *span = (struct span){(uintptr_t)flight->cells + value,
                              cells_behind(value / 8, writes) * 8, true};
        return true;
    case RELOC_CONST:
        *span = (struct span){(uintptr_t)flight->plan->consts + value,
                              p->consts_size - value, false};
        return true;
    case RELOC_BUFFER:
        *span = (struct span){flight->cells[cell],
                              buffer_size(flight, fuzz_roles.buffers[cell] - 1u), true};
        return true;
    case RELOC_HOST:
        *span = (struct span){flight->cells[cell], FUZZ_HOST_BYTES, true};
        return true;
    default:
        return false;
    }
}

static bool
is_inside(const struct span *span, uint64_t address, uint64_t size)
{
    return address >= span->at && size <= span->size &&
           address - span->at <= span->size - size;
}

/* Memory that a plain number may happen to mean. Vectors hold addresses in cells of
 * their own, where NOP atoms put them; cells themselves are not written that way. */
static bool
is_known(const struct flight *flight, uint64_t address, uint64_t size, bool writes)
{
    struct span span = {(uintptr_t)flight->cells,
                        fuzz_roles.program->cells_count * UINT64_C(8), false};
    if (!writes && is_inside(&span, address, size)) {
        return true;
    }
    for (uint32_t cell = 1; cell < fuzz_roles.program->cells_count; cell++) {
        if (fuzz_roles.kinds[cell] != RELOC_CELL &&
            span_of(flight, cell, writes, &span) && (span.writable || !writes) &&
            is_inside(&span, address, size)) {
            return true;
        }
    }
    return false;
}

static void
check_secrets(const char *at, uint64_t size)
{
    uint32_t run = 0;
    for (uint64_t i = 0; i < size; i++) {
        run = (uint8_t)at[i] == SECRET ? run + 1 : 0;
        if (run == 4) {
            fuzz_fail("memory of earlier flights is shown");
            return;
        }
    }
}

static void
touch(uint64_t address, uint64_t size, bool writes)
{
    if (size == 0) {
        return;
    }
    if (writes) {
        memset((char *)(uintptr_t)address, 0x11, size);
    } else {
        check_secrets((const char *)(uintptr_t)address, size);
    }
}

bool
fuzz_reach(uint32_t cell, uint64_t address, uint64_t size, bool writes)
{
    struct span span;
    if (size == 0) {
        return true;
    }
    if (cell == 0 || fuzz_roles.kinds[cell] == 0) {
        return is_known(fuzz_flight, address, size, writes);
    }
    span_of(fuzz_flight, cell, writes, &span);
    if (span.at == 0) {
        return false; /* a computed buffer that has not been made */
    }
    if (!is_inside(&span, address, size) || (writes && !span.writable)) {
        fuzz_fail("%llu bytes %s behind cell %u, which has %llu",
                  (unsigned long long)size, writes ? "written" : "read", cell,
                  (unsigned long long)span.size);
        return false;
    }
    return true;
}

bool
fuzz_touch(uint32_t cell, uint64_t address, uint64_t size, bool writes)
{
    if (!fuzz_reach(cell, address, size, writes)) {
        return false;
    }
    touch(address, size, writes);
    return true;
}

/* Its end must lie in the span, or be the byte that the engine keeps behind a buffer. */
bool
fuzz_string(uint32_t cell, uint64_t address)
{
    struct span span;
    if (cell == 0 || fuzz_roles.kinds[cell] == 0) {
        return false; /* a plain number */
    }
    span_of(fuzz_flight, cell, false, &span);
    if (span.at == 0) {
        return false;
    }
    bool ended = fuzz_roles.kinds[cell] == RELOC_BUFFER;
    const char *at = (const char *)(uintptr_t)address;
    uint64_t most = span.size + ended, size = strnlen(at, most);
    if (size == most && fuzz_roles.kinds[cell] == RELOC_HOST) {
        return false; /* the host's word */
    }
    if (size == most) {
        fuzz_fail("a string behind cell %u does not end", cell);
        return false;
    }
    check_secrets(at, size);
    return true;
}

void
fuzz_show(uint32_t cell, uint64_t size)
{
    struct span span;
    if (!span_of(fuzz_flight, cell, false, &span) || span.at == 0) {
        return;
    }
    size = (int64_t)size < 0 ? 0 : size < span.size ? size : span.size;
    check_secrets((const char *)(uintptr_t)span.at, size);
}
