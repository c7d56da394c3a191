/* Plans as the kernel executes them, and a flight's copy of one.
 *
 * A plan is translated once, when the first flight of an engine with a device is made:
 * which atoms the kernel executes (calls) and at which it stops for the engine (home),
 * and where arguments and results are. The kernel's atoms hold addresses, so each flight
 * has its own, behind its scratch. Results are stored in words of that copy; the engine
 * stores them in the cells when it replays the kernel's notes, so that cells change in
 * the order of the program. Only cells that some atom reads or writes through memory are
 * stored by the kernel itself (direct). Used by flight.c, handed.c, backend_kernel.c. */
#ifndef SYSLET_HANDED_H
#define SYSLET_HANDED_H

#include "device.h"
#include "flight.h"

/* Places of arguments and results: a cell, or a word plus this. 0: none. */
enum { HANDED_WORD = 0x8000 };
_Static_assert((int)HANDED_CELLS_MAX <= (int)HANDED_WORD,
               "a cell's number is no word's");

enum word_kind {
    WORD_ZERO,    /* stays 0 */
    WORD_CELL,    /* the cell that results go to; set before each run */
    WORD_ADDRESS, /* of a place; set once */
    WORD_FLAGS,   /* a send's flags and MSG_NOSIGNAL; set before each run */
    WORD_SCRATCH, /* a result that has no cell */
};

struct handed_word {
    uint8_t kind;
    uint16_t of; /* cell, or place */
};

struct handed_step { /* one atom of the plan */
    uint16_t block;  /* its first atom of the program */
    uint16_t flags;  /* of that one */
    uint16_t arg[ARGS_MAX], ret;
    uint16_t test; /* word with the address of the result that a second atom tests; 0 */
    bool calls;    /* the kernel executes it; else it ends the run */
    bool ends;     /* the run ends behind it, whatever its result */
    bool enters;   /* worth a run that begins here */
    bool judged;   /* some errors of it are none to the engine: see replay */
    bool direct;   /* its result is stored by the kernel */
    bool gated;    /* something about it is asked before each run */
    bool opened;   /* its descriptor was opened by an atom of this plan */
};

struct handed_plan { /* one allocation, immutable */
    uint32_t atoms_count, words_count, notes_count;
    uint32_t bytes; /* of a flight's copy */
    bool cycles;    /* some atom may run twice */
    bool makes_fds;
    struct handed_step *steps; /* borrowed: behind this struct, as is the next */
    struct handed_word *words;
};

struct handed { /* a flight's copy; one run of it at a time */
    _Alignas(16) struct device_run run;
    struct device_note *notes; /* borrowed: behind this struct, as are the others */
    uint64_t *words;
    struct device_atom *atoms;
    bool filled;
};

/* NULL: nothing of the plan is for the kernel (or there is no memory). The first one that
 * is made stays with the plan. */
const struct handed_plan *handed_plan_of(struct plan *plan,
                                         const struct device *device);

/* Can atoms of this row be the kernel's at all, in a worker? */
bool handed_is_possible(const struct device *device, const struct op *op);
/* Makes the atoms when it has not been done. */
void handed_fill(struct flight *flight);
/* Before each run, in the caller or in a worker of the kernel: words, and atoms that are
 * not for the kernel this time. The largest transfer that it may make, in bytes. */
uint64_t handed_aim(struct flight *flight, bool in_worker);
/* May the kernel's worker execute the atom at `at`, as it was aimed? */
bool handed_is_aimed(const struct flight *flight);
/* The atom of the plan that a note is about; UINT32_MAX: of none. */
uint32_t handed_index(const struct flight *flight, uint64_t atom);

#endif
