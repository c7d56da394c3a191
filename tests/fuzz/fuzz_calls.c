/* What a system call does to the memory that its arguments name, by the letters of its
 * row (op.h), and what it answers. See fuzz.h. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { NAME_BYTES_MAX = 128, NAME_BYTES = 28 };

int64_t
fuzz_outcome(uint64_t most)
{
    switch (fuzz_decide(8)) {
    case 1:
        return -EAGAIN;
    case 2:
        return -EINTR;
    case 3:
        return (int64_t)(most < 3 ? most : most / 2);
    case 4:
        return 0;
    case 5:
        return -EIO;
    case 6:
        return -EINVAL;
    default:
        return (int64_t)(most < INT32_MAX ? most : INT32_MAX);
    }
}

/* The program's own address, or one that the engine put in its place? */
static bool
is_own(const struct fuzz_call *call, int at)
{
    uint64_t value = fuzz_flight->cells[call->step->arg[at]];
    bool moved = at == 1 && (call->step->op->flags & OP_TRANSFER);
    return call->args[at] == value + (moved ? (uint64_t)call->done : 0);
}

static uint32_t
cell_of(const struct fuzz_call *call, int at)
{
    return call->step->arg[at];
}

/* The cell at this address, if it is one of the flight's; else 0. */
static uint32_t
cell_at(uint64_t address)
{
    uint64_t offset = address - (uintptr_t)fuzz_flight->cells;
    uint64_t index = offset / 8;
    return offset % 8 == 0 && index < fuzz_flight->plan->cells_count ? (uint32_t)index
                                                                     : 0;
}

int64_t
fuzz_copy(const uint64_t *args, bool writes)
{
    const struct iovec *mine = (const struct iovec *)(uintptr_t)args[1];
    const struct iovec *theirs = (const struct iovec *)(uintptr_t)args[3];
    uint64_t address = (uintptr_t)theirs->iov_base, size = theirs->iov_len;
    const struct step *step = flight_step(fuzz_flight);
    uint32_t cell = 0;
    for (int i = 0; i < step->argc; i++) {
        bool same = fuzz_flight->cells[step->arg[i]] == address;
        /* LOAD adds an offset: a plain number; iovecs may be any cells. */
        bool spans = step->nr != PSEUDO_LOAD && strchr("vV", step->op->args[i]) == NULL;
        cell = same && spans ? step->arg[i] : cell;
    }
    if (!fuzz_reach(cell, address, size, writes)) {
        return -EFAULT;
    }
    if (writes) {
        memcpy(theirs->iov_base, mine->iov_base, size);
    } else {
        memcpy(mine->iov_base, theirs->iov_base, size);
    }
    return (int64_t)size;
}

/* --- vectors and messages ----------------------------------------------------------- */

/* iovecs somewhere. */
struct vector {
    uint64_t address, count;
    bool named; /* by a cell with an address: the verifier has looked at each */
};

/* -errno, or what the iovecs hold in all; `limit` bytes of them are touched. */
static int64_t
walk(const struct vector *vector, bool writes, uint64_t limit)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < vector->count; i++) {
        uint64_t at = vector->address + 16 * i;
        const struct iovec *iov = (const struct iovec *)(uintptr_t)at;
        uint64_t base = (uintptr_t)iov->iov_base, size = iov->iov_len;
        uint64_t part = size < limit - total ? size : limit - total;
        uint32_t cell = vector->named ? cell_at(at) : 0;
        if (!fuzz_reach(cell, base, size, writes) ||
            !fuzz_touch(cell, base, part, writes)) {
            return total != 0 ? (int64_t)total : -EFAULT;
        }
        total += part;
    }
    return (int64_t)total;
}

static int64_t
move_vector(const struct vector *vector, bool writes)
{
    const struct iovec *iov = (const struct iovec *)(uintptr_t)vector->address;
    uint64_t whole = 0;
    for (uint64_t i = 0; i < vector->count; i++) {
        whole += iov[i].iov_len;
    }
    int64_t wanted = fuzz_outcome(whole < (1u << 20) ? whole : 1u << 20);
    return wanted <= 0 ? wanted : walk(vector, writes, (uint64_t)wanted);
}

/* iovecs may hold the program's addresses, so all cells may be read as such. */
static bool
vector_is_there(uint32_t cell, uint64_t address, uint64_t count)
{
    uint64_t size = count * sizeof(struct iovec);
    uint64_t end = (uintptr_t)(fuzz_flight->cells + fuzz_flight->plan->cells_count);
    if (fuzz_roles.kinds[cell] != RELOC_CELL) {
        return fuzz_reach(cell, address, size, false);
    }
    if (size > end - address) {
        fuzz_fail("iovecs are read behind the cells");
        return false;
    }
    return true;
}

int64_t
fuzz_vector(const struct fuzz_call *call, int at, bool writes)
{
    uint64_t address = call->args[at], count = call->args[at + 1];
    if (count > 1024) {
        return -EINVAL;
    }
    if (is_own(call, at) && !vector_is_there(cell_of(call, at), address, count)) {
        return -EFAULT;
    }
    bool named = fuzz_roles.kinds[cell_of(call, at)] == RELOC_CELL && is_own(call, at);
    return move_vector(&(struct vector){address, count, named}, writes);
}

static int64_t
move_message(const struct fuzz_call *call, int at, bool writes)
{
    uint64_t address = call->args[at];
    bool own = is_own(call, at);
    if (own && !fuzz_reach(cell_of(call, at), address, sizeof(struct msghdr), writes)) {
        return -EFAULT;
    }
    struct msghdr *message = (struct msghdr *)(uintptr_t)address;
    uint64_t vector = (uintptr_t)message->msg_iov, count = message->msg_iovlen;
    uint64_t name = (uintptr_t)message->msg_name, control = message->msg_controllen;
    uint64_t name_size = message->msg_namelen;
    name_size = name_size < NAME_BYTES_MAX ? name_size : NAME_BYTES_MAX;
    if (count > 1024) {
        return -EMSGSIZE;
    }
    /* A header that a plain number names may lie anywhere, and nobody has looked. */
    bool named = own && fuzz_roles.kinds[cell_of(call, at)] == RELOC_CELL;
    uint32_t header = named ? cell_at(address) : 0;
    uint32_t vector_cell = named ? header + 2 : 0;
    uintptr_t rest = (uintptr_t)fuzz_flight->vector;
    bool copied =
        rest != 0 && vector >= rest && vector < rest + 1024 * sizeof(struct iovec);
    if (!copied && !fuzz_reach(vector_cell, vector, count * 16, false)) {
        return -EFAULT;
    }
    if ((name != 0 && !fuzz_touch(header, name, name_size, writes)) ||
        (control != 0 &&
         !fuzz_touch(named ? header + 4 : 0, (uintptr_t)message->msg_control, control,
                     writes))) {
        return -EFAULT;
    }
    if (writes) {
        message->msg_namelen = name != 0 ? NAME_BYTES_MAX : 0;
        message->msg_flags = 0;
    }
    bool looked_at = fuzz_roles.kinds[vector_cell] == RELOC_CELL;
    return move_vector(&(struct vector){vector, count, looked_at}, writes);
}

/* --- by letter ---------------------------------------------------------------------- */

/* An address and, behind it, its length in and out. */
static bool
name_out(const struct fuzz_call *call, int at)
{
    uint64_t length = call->args[at + 1];
    if (call->args[at] == 0) {
        return true;
    }
    if (!fuzz_reach(cell_of(call, at + 1), length, 4, true)) {
        return false;
    }
    uint32_t *word = (uint32_t *)(uintptr_t)length;
    bool option = call->step->op->args[at] == 'T';
    uint32_t most = option ? 4096 : NAME_BYTES_MAX;
    uint32_t size = *word < most ? *word : most;
    bool good = fuzz_touch(cell_of(call, at), call->args[at], size, true);
    *word = option ? size : NAME_BYTES;
    return good;
}

static bool
structure(const struct fuzz_call *call, int at)
{
    const struct op *op = call->step->op;
    uint64_t size = op_structure(op, at);
    if (op->args[at + 1] == 'c') { /* pollfds */
        size = call->args[at + 1] < 1024 ? 8 * call->args[at + 1] : 0;
    }
    if (op->args[at] == 'z' || call->args[at] == 0) {
        return call->args[at] != 0 || op->args[at] != 't'; /* nobody knows how much */
    }
    bool writes = strchr("TO", op->args[at]) != NULL;
    return fuzz_touch(cell_of(call, at), call->args[at], size, writes);
}

/* false: -EFAULT. What is moved by size, vector or message is not looked at here. */
static bool
argument(const struct fuzz_call *call, int at)
{
    const struct op *op = call->step->op;
    if (!is_own(call, at)) {
        return true;
    }
    switch (op->args[at]) {
    case 'p':
    case 's':
        return fuzz_string(cell_of(call, at), call->args[at]);
    case 'a':
        return fuzz_touch(cell_of(call, at), call->args[at], call->args[at + 1], false);
    case 'A':
        return name_out(call, at);
    case 'T':
        return op->args[at + 1] == 'L' ? name_out(call, at) : structure(call, at);
    case 't':
    case 'O':
    case 'z':
        return structure(call, at);
    default:
        return true;
    }
}

/* Memory and a length: how much of it is moved. */
static int64_t
transfer(const struct fuzz_call *call, int at, bool writes)
{
    uint64_t size = call->args[at + 1], told = size;
    const struct op *op = call->step->op;
    if (!fuzz_reach(cell_of(call, at), call->args[at], size, writes)) {
        return -EFAULT;
    }
    bool cuts = op->nr == __NR_recvfrom && (call->args[3] & MSG_TRUNC);
    if (cuts || (size == 0 && strstr(op->name, "xattr") != NULL)) {
        told = size + 32; /* more than there is room for */
    }
    int64_t res = fuzz_outcome(told < (1u << 20) ? told : 1u << 20);
    uint64_t moved = res < 0 ? 0 : (uint64_t)res < size ? (uint64_t)res : size;
    fuzz_touch(cell_of(call, at), call->args[at], writes ? moved : size, writes);
    return res;
}

static int64_t
pair_made(const struct fuzz_call *call, int at)
{
    void *pair = (void *)(uintptr_t)call->args[at];
    if (!fuzz_reach(cell_of(call, at), call->args[at], 8, true)) {
        return -EFAULT;
    }
    int64_t first = fuzz_fd_new(KIND_FIFO), second = fuzz_fd_new(KIND_FIFO);
    if (second < 0) {
        struct fuzz_file *file = fuzz_fd((uint64_t)first);
        if (file != NULL) {
            file->open = 0;
        }
        return -EMFILE;
    }
    memcpy(pair, (const int32_t[]){(int32_t)first, (int32_t)second}, 8);
    return 0;
}

static int64_t
answer(const struct fuzz_call *call)
{
    const struct op *op = call->step->op;
    if (op->result == 'f') {
        int64_t res = fuzz_outcome(1);
        return res < 0 ? res : fuzz_fd_new((uint8_t)fuzz_decide(3));
    }
    if (op->nr == __NR_fstat && call->args[1] == 0) {
        return -EFAULT;
    }
    if (op->nr == __NR_fstat) {
        struct stat *st = (struct stat *)(uintptr_t)call->args[1];
        st->st_mode = fuzz_decide(2) ? S_IFIFO : S_IFREG;
    }
    int64_t res = fuzz_outcome(op->result == '0' ? 0 : 4);
    return op->result == '0' && res > 0 ? 0 : res;
}

int64_t
fuzz_row(const struct fuzz_call *call)
{
    const char *letters = call->step->op->args;
    for (int i = 0; letters[i] != '\0'; i++) {
        if (!argument(call, i)) {
            return -EFAULT;
        }
    }
    for (int i = 0; letters[i] != '\0'; i++) {
        switch (letters[i]) {
        case 'w':
        case 'r':
            if (letters[i + 1] == 'n') {
                return transfer(call, i, letters[i] == 'w');
            }
            break;
        case 'v':
        case 'V':
            return fuzz_vector(call, i, letters[i] == 'V');
        case 'm':
        case 'M':
            return move_message(call, i, letters[i] == 'M');
        default:
            break;
        }
    }
    if (call->step->op->result == 'P') {
        return pair_made(call, (int)(strchr(letters, 'T') - letters));
    }
    return answer(call);
}
