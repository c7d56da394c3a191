/* Hello: a syslet of one atom, a write that is sent to another thread at once.
 *
 *   cc hello.c -o hello $(pkg-config --cflags --libs syslet) && ./hello */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslet.h>

int
main(void)
{
    static const char text[] = "hello, syslet\n";
    uint64_t ring[8] = {0};
    struct async_head_user head = {
        .completion_ring_ptr = (uintptr_t)ring,
        .ring_size_bytes = sizeof(ring),
    };

    unsigned long fd = 1;
    unsigned long address = (uintptr_t)text;
    unsigned long length = strlen(text);
    long written = 0;
    struct syslet_uatom atom = {
        .flags = SYSLET_ASYNC,
        .nr = SYS_write,
        .ret_ptr = (uintptr_t)&written,
        .arg_ptr = {(uintptr_t)&fd, (uintptr_t)&address, (uintptr_t)&length},
    };

    if (async_exec(&atom, &head) != NULL || async_wait(1, 0, &head) != 0) {
        return 1;
    }
    if (ring[0] != (uintptr_t)&atom) {
        return 1;
    }
    ring[0] = 0; /* the slot may be filled again */
    printf("%ld bytes written\n", written);
    return 0;
}
