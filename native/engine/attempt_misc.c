/* Inline forms of everything that is neither file nor socket, see attempt.h: the pseudo
 * operations, clocks, futexes, children. */
#define _GNU_SOURCE
#include "attempt.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine_private.h"

uint64_t
vector_bytes(const uint64_t *args)
{
    const struct iovec *iov = (const struct iovec *)(uintptr_t)args[1];
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < args[2]; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

int64_t
attempt_plain(struct flight *flight, const uint64_t *args)
{
    return flight_call(flight, flight_step(flight)->nr, args[0], args[1], args[2],
                       args[3], args[4], args[5]);
}

/* --- pseudo operations ------------------------------------------------------------ */

int64_t
attempt_nop(struct flight *flight, const uint64_t *args)
{
    (void)flight;
    return (int64_t)args[0] == OP_MISS ? OP_MISS + 1 : (int64_t)args[0];
}

/* Atomic, which the announcement's was not: workers of other flights may count in the
 * same word. */
int64_t
attempt_umem_add(struct flight *flight, const uint64_t *args)
{
    int64_t sum;
    if (flight_step(flight)->trusted && (args[0] & 7) == 0) {
        int64_t *word = (int64_t *)(uintptr_t)args[0];
        sum = __atomic_add_fetch(word, (int64_t)args[1], __ATOMIC_SEQ_CST);
    } else {
        if (memory_read(flight, &sum, args[0], sizeof(sum)) < 0) {
            return -EFAULT;
        }
        sum = (int64_t)((uint64_t)sum + args[1]);
        if (memory_write(flight, args[0], &sum, sizeof(sum)) < 0) {
            return -EFAULT;
        }
    }
    return sum == OP_MISS ? OP_MISS + 1 : sum;
}

static int64_t
widened(uint64_t raw, uint64_t width, bool is_signed)
{
    if (width == 8) {
        return (int64_t)raw == OP_MISS ? OP_MISS + 1 : (int64_t)raw;
    }
    unsigned shift = (unsigned)(64 - width * 8);
    return is_signed ? (int64_t)(raw << shift) >> shift
                     : (int64_t)((raw << shift) >> shift);
}

int64_t
attempt_load(struct flight *flight, const uint64_t *args)
{
    uint64_t width = args[1];
    uint64_t raw = 0;
    if (width != 1 && width != 2 && width != 4 && width != 8) {
        return -EINVAL;
    }
    uint64_t address = args[0] + args[3];
    if (flight_step(flight)->trusted) {
        __builtin_memcpy(&raw, (const void *)(uintptr_t)address, width);
    } else if (memory_read(flight, &raw, address, width) < 0) {
        return -EFAULT;
    }
    return widened(raw, width, args[2] != 0);
}

/* Memory for a computed buffer: in the flight if it is the one that may and it fits. */
static char *
buffer_memory(struct flight *flight, uint32_t number, uint64_t size)
{
    const struct plan *plan = flight->plan;
    if (number == plan->scratch_user &&
        size <= plan->scratch_bytes - plan->scratch_fixed) {
        return flight->scratch + plan->scratch_fixed;
    }
    return flight_heap(flight, size != 0 ? size : 1);
}

/* How much is really behind a computed buffer that a loop makes again. */
static uint64_t
buffer_room(const struct flight *flight, const char *memory)
{
    const struct plan *plan = flight->plan;
    if (memory == flight->scratch + plan->scratch_fixed &&
        plan->scratch_user != BUFFERS_MAX) {
        return plan->scratch_bytes - plan->scratch_fixed;
    }
    return flight_heap_size(flight, memory);
}

int64_t
attempt_buffer(struct flight *flight, const uint64_t *args)
{
    if (args[0] >= flight->plan->buffers_count || (int64_t)args[1] < 0) {
        return -EINVAL; /* the verifier saw to the first */
    }
    const struct program_buffer *buffer = &flight->plan->buffers[args[0]];
    bool ended = (buffer->flags & BUFFER_ENDED) != 0;
    uint64_t needed = args[1] + ended;
    char *memory = (char *)(uintptr_t)flight->cells[buffer->address];
    bool moves = memory == NULL || buffer_room(flight, memory) < needed;
    if (moves) {
        flight_heap_drop(flight, memory);
        flight->cells[buffer->capacity] = 0;
        memory = buffer_memory(flight, (uint32_t)args[0], needed);
        flight->cells[buffer->address] = (uintptr_t)memory;
        if (memory == NULL) {
            return -ENOMEM;
        }
    }
    /* What an earlier round has put in may still be sent, as far as it went. */
    bool stale = moves && (flight->made >> args[0] & 1) != 0;
    if ((buffer->flags & BUFFER_ZEROED) || stale) {
        memset(memory, 0, args[1]);
    }
    if (ended) {
        memory[args[1]] = 0;
    }
    flight->made |= UINT64_C(1) << args[0];
    flight->cells[buffer->capacity] = args[1];
    return 0;
}

int64_t
attempt_emit(struct flight *flight, const uint64_t *args)
{
    struct engine *engine = flight->engine;
    if (engine->host.emitted != NULL) {
        flight->pauses = !engine->host.emitted(engine->host.context, flight, args[0]);
    }
    return 0;
}

/* --- clocks, futexes, children ---------------------------------------------------- */

/* The wait itself is no attempt; but a bad or zero time is answered at once. */
int64_t
attempt_sleep(struct flight *flight, const uint64_t *args)
{
    const struct step *step = flight_step(flight);
    uint64_t address = args[step->nr == __NR_nanosleep ? 0 : 2];
    int64_t time[2];
    if (memory_read(flight, time, address, sizeof(time)) < 0) {
        return -EFAULT;
    }
    if (time[0] < 0 || time[1] < 0 || time[1] >= 1000000000) {
        return -EINVAL;
    }
    return flight->retries || (time[0] == 0 && time[1] == 0) ? 0 : OP_MISS;
}

int64_t
attempt_futex(struct flight *flight, const uint64_t *args)
{
    uint64_t command = args[1] & FUTEX_CMD_MASK;
    if (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) {
        uint32_t value;
        if ((args[0] & 3) == 0 &&
            memory_read(flight, &value, args[0], sizeof(value)) == 0 &&
            value != (uint32_t)args[2]) {
            return -EAGAIN; /* the kernel's answer as well, without asking it twice */
        }
        return OP_MISS;
    }
    if (command != FUTEX_WAKE && command != FUTEX_WAKE_BITSET &&
        command != FUTEX_REQUEUE && command != FUTEX_CMP_REQUEUE &&
        command != FUTEX_WAKE_OP) {
        return OP_MISS;
    }
    return attempt_plain(flight, args);
}

int64_t
attempt_waitid(struct flight *flight, const uint64_t *args)
{
    siginfo_t none = {0};
    if (args[2] != 0) {
        /* WNOHANG leaves si_pid 0 when no child is ready: clear what was there. */
        if (memory_write(flight, args[2], &none, sizeof(none)) < 0) {
            return -EFAULT;
        }
    }
    uint64_t info = args[2] != 0 ? args[2] : (uintptr_t)&none;
    int64_t res = flight_call(flight, __NR_waitid, args[0], args[1], info,
                              args[3] | WNOHANG, args[4], 0);
    if (res != 0 || (args[3] & WNOHANG)) {
        return res;
    }
    siginfo_t answer;
    if (memory_read(flight, &answer, info, sizeof(answer)) < 0) {
        return -EFAULT;
    }
    return answer.si_pid == 0 ? OP_MISS : 0;
}

int64_t
attempt_getrandom(struct flight *flight, const uint64_t *args)
{
    const uint64_t nonblock = 1; /* GRND_NONBLOCK: the pool is ready long before us */
    if (args[1] > LOCKED_BYTES_MAX) {
        return OP_MISS;
    }
    int64_t res = flight_call(flight, __NR_getrandom, args[0], args[1],
                              args[2] | nonblock, 0, 0, 0);
    return res == -EAGAIN && !(args[2] & nonblock) ? OP_MISS : res;
}
