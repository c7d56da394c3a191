/* The drawing of the announcement: a TCP server in one syslet.
 *
 *   drawing CONNECTIONS
 *
 * accept, setsockopt(TCP_NODELAY), read while positive, close, decrease and read a
 * variable, back to accept while it is positive. Prints its port, and in the end how
 * many connections are left and how many bytes the last read gave. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <syslet.h>

#define AT(variable) ((uintptr_t)&(variable))

enum { ACCEPT, NODELAY, READ, CLOSE, COUNT, ATOMS };

static struct syslet_uatom atoms[ATOMS];
static unsigned long listener, level = IPPROTO_TCP, option = TCP_NODELAY, value_address,
                               size = sizeof(int), buffer_address, room, left_address,
                               minus_one = -1UL, zero;
static long conn, set, got, closed, left;
static int on = 1;
static char buffer[4096];

static void
draw(void)
{
    value_address = AT(on);
    buffer_address = AT(buffer);
    room = sizeof(buffer);
    left_address = AT(left);
    atoms[ACCEPT] = (struct syslet_uatom){
        .nr = SYS_accept4,
        .flags = SYSLET_STOP_ON_NEGATIVE,
        .ret_ptr = AT(conn),
        .next = AT(atoms[NODELAY]),
        .arg_ptr = {AT(listener), AT(zero), AT(zero), AT(zero)},
    };
    atoms[NODELAY] = (struct syslet_uatom){
        .nr = SYS_setsockopt,
        .flags = SYSLET_STOP_ON_NEGATIVE,
        .ret_ptr = AT(set),
        .next = AT(atoms[READ]),
        .arg_ptr = {AT(conn), AT(level), AT(option), AT(value_address), AT(size)},
    };
    atoms[READ] = (struct syslet_uatom){
        .nr = SYS_read,
        .flags = SYSLET_STOP_ON_NON_POSITIVE | SYSLET_SKIP_TO_NEXT_ON_STOP,
        .ret_ptr = AT(got),
        .next = AT(atoms[READ]), /* while positive */
        .arg_ptr = {AT(conn), AT(buffer_address), AT(room)},
    };
    atoms[CLOSE] = (struct syslet_uatom){
        .nr = SYS_close,
        .ret_ptr = AT(closed),
        .next = AT(atoms[COUNT]),
        .arg_ptr = {AT(conn)},
    };
    atoms[COUNT] = (struct syslet_uatom){
        .nr = SYSLET_NR_UMEM_ADD,
        .flags = SYSLET_STOP_ON_NON_POSITIVE,
        .next = AT(atoms[ACCEPT]), /* if positive */
        .arg_ptr = {AT(left_address), AT(minus_one)},
    };
}

int
main(int argc, char **argv)
{
    uint64_t ring[4] = {0};
    struct async_head_user head = {
        .completion_ring_ptr = (uintptr_t)ring,
        .ring_size_bytes = sizeof(ring),
    };
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    left = argc > 1 ? atol(argv[1]) : 1;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 ||
        listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        perror("listener");
        return 1;
    }
    listener = (unsigned long)fd;
    draw();
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);

    const struct syslet_uatom *last = async_exec(&atoms[ACCEPT], &head);
    if (last == NULL) { /* this thread could do something else now */
        async_wait(1, 0, &head);
        last = (const struct syslet_uatom *)(uintptr_t)ring[0];
    }
    printf("ended at atom %ld, %ld left\n", last - atoms, left);
    return last == &atoms[COUNT] && left == 0 ? 0 : 1;
}
