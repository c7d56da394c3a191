/* The program format: what a compiler hands to the engine, and could hand to a kernel.
 *
 * It is the announcement's 64-bit `struct syslet_uatom` (v6) with its pointers made
 * relocatable: where the seed has the address of an unsigned long, a program has the
 * index of a cell; where it has the address of the next atom, a program has that
 * atom's index plus one. Zero keeps the seed's meaning of NULL everywhere, so cell 0
 * exists and is never used. A program holds no pointer; a flight's cells do, after the
 * relocations below have been applied to its copy of the cell image.
 *
 * Shared by the engine, its hosts and the compiler in syslet_loop/plan.py (which packs
 * these structures; a test compares the sizes). Includes no other header of ours. */
#ifndef SYSLET_PROGRAM_H
#define SYSLET_PROGRAM_H

#include <stdint.h>

/* Flags of an atom: names and values are the announcement's. */
enum {
    SYSLET_ASYNC = 0x01,       /* do not try inline, miss at once */
    SYSLET_SYNC = 0x02,        /* never miss: block the submitting thread */
    SYSLET_NO_COMPLETE = 0x04, /* a syslet that ends here reports nothing */
    SYSLET_STOP_ON_NONZERO = 0x08,
    SYSLET_STOP_ON_ZERO = 0x10,
    SYSLET_STOP_ON_NEGATIVE = 0x20,
    SYSLET_STOP_ON_NON_POSITIVE = 0x40,
    SYSLET_SKIP_TO_NEXT_ON_STOP = 0x80, /* a stop goes to the following atom instead */
    SYSLET_FLAGS_ALL = 0xff,
};

/* Operations that are not system calls have numbers no kernel uses. */
enum {
    PSEUDO_FIRST = 0x10000,
    PSEUDO_NOP = 0x10000,      /* result: the first argument, or 0: test, move, jump */
    PSEUDO_UMEM_ADD = 0x10001, /* (address, value): add to user memory, give the sum */
    PSEUDO_LOAD = 0x10002,   /* (address, width 1|2|4|8, signed, offset): read memory */
    PSEUDO_BUFFER = 0x10003, /* (slot, size): allocate, give 0; see program_buffer */
    PSEUDO_EMIT = 0x10004,   /* (report): hand values to the host and go on */
    PSEUDO_LAST = 0x10004,
};

struct program_atom {
    uint32_t flags;
    uint32_t nr;      /* system call number of this machine, or PSEUDO_* */
    uint64_t ret;     /* cell that takes the result; 0: nowhere    (seed: ret_ptr) */
    uint64_t next;    /* index + 1 of the next atom; 0: the end    (seed: next) */
    uint64_t arg[6];  /* cells; the first 0 ends the list          (seed: arg_ptr) */
    uint64_t private; /* the compiler's: bit 63 CHECK, low 32 bits source line */
};
_Static_assert(sizeof(struct program_atom) == 80, "the seed's 64-bit layout");

/* If the syslet ends at this atom with a negative result, that is an error. */
#define PRIVATE_CHECK (UINT64_C(1) << 63)

enum program_reloc_kind {
    RELOC_CELL = 1,   /* cell := address of cells[0] + value bytes */
    RELOC_CONST = 2,  /* cell := address of the constants + value bytes */
    RELOC_BUFFER = 3, /* cell := address of new buffer number `value` (fixed size) */
    RELOC_HOST = 4,   /* the host stores an address with >= value bytes behind it */
};

struct program_reloc {
    uint32_t cell;
    uint32_t kind;
    uint64_t value;
};

/* Cleared: what nothing has written reads as 0. The engine clears what a program may
 * show beyond what it filled, whether asked or not (verify_exposed.c). */
enum { BUFFER_ZEROED = 1 };

/* A new buffer. size > 0: made when the flight starts. size == 0: made by its
 * PSEUDO_BUFFER atom, which stores the address in `address` and the size in `capacity`.
 */
struct program_buffer {
    uint32_t size;     /* bytes */
    uint32_t flags;    /* BUFFER_ZEROED or 0 */
    uint32_t address;  /* cell that holds its address */
    uint32_t capacity; /* cell that holds its size in bytes; 0 if size is fixed */
};

/* Before `atom` runs, the unsigned value of its argument `arg` must not exceed the
 * value of cell `capacity`; else the atom's result is -EFAULT and it is not run. */
struct program_bound {
    uint32_t atom;
    uint32_t arg;
    uint64_t capacity;
};

/* Memory that the host reads when the flight emits or has landed: as many bytes as the
 * value of cell `length` says, and no more than there are. */
struct program_show {
    uint32_t address; /* cell that holds its address */
    uint32_t length;  /* cell; 0: nothing */
};

struct program { /* everything borrowed by plan_create for the call only */
    const struct program_atom *atoms;
    const uint64_t *cells; /* the initial image; cells[0] must be 0 */
    const struct program_reloc *relocs;
    const struct program_buffer *buffers;
    const struct program_bound *bounds;
    const uint32_t *inputs; /* cells that the host fills with plain values */
    const struct program_show *shows;
    const void *consts;
    uint32_t atoms_count;
    uint32_t cells_count;
    uint32_t relocs_count;
    uint32_t buffers_count;
    uint32_t bounds_count;
    uint32_t inputs_count;
    uint32_t shows_count;
    uint32_t consts_size; /* bytes */
};

#endif
