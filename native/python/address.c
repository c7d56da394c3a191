/* Socket addresses as Python shows them, and what is known of a socket object.
 *
 * The three families that servers use are done here: IPv4, IPv6 and Unix. Every other
 * form of address, host names among them, is left to the socket object, so nothing here
 * ever looks up a name or refuses an address.
 *
 * The descriptor of a socket.socket, its family, type and protocol are four ints behind
 * the object's head. That is checked at import against a real socket; should it not
 * hold, the socket object is asked each time. */
#include "loop.h"
#include "sock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

bool
address_is_known(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

/* --- to Python ----------------------------------------------------------------------------- */

static char *
write_number(char *end, unsigned number)
{
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return end;
}

/* A datagram server makes one per packet; inet_ntop takes five times as long. */
static PyObject *
ipv4_host(const struct in_addr *host)
{
    const unsigned char *bytes = (const unsigned char *)&host->s_addr;
    char text[INET_ADDRSTRLEN];
    char *end = text + sizeof(text);
    char *start = write_number(end, bytes[3]);
    for (int i = 2; i >= 0; i--) {
        *--start = '.';
        start = write_number(start, bytes[i]);
    }
    PyObject *result = PyUnicode_New(end - start, 127);
    if (result != NULL) {
        memcpy(PyUnicode_1BYTE_DATA(result), start, (size_t)(end - start));
    }
    return result;
}

static PyObject *
ipv4_to_object(const struct sockaddr_in *address)
{
    PyObject *host = ipv4_host(&address->sin_addr);
    PyObject *port = PyLong_FromLong(ntohs(address->sin_port));
    PyObject *result = NULL;
    if (host != NULL && port != NULL) {
        result = PyTuple_Pack(2, host, port);
    }
    Py_XDECREF(host);
    Py_XDECREF(port);
    return result;
}

static PyObject *
ipv6_to_object(const struct sockaddr_in6 *address)
{
    char host[INET6_ADDRSTRLEN];
    if (inet_ntop(AF_INET6, &address->sin6_addr, host, sizeof(host)) == NULL) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("siII", host, (int)ntohs(address->sin6_port),
                         (unsigned)ntohl(address->sin6_flowinfo),
                         (unsigned)address->sin6_scope_id);
}

/* An abstract name begins with a zero and is bytes; an unnamed socket is ''. */
static PyObject *
unix_to_object(const struct sockaddr_un *address, unsigned length)
{
    size_t room = length - offsetof(struct sockaddr_un, sun_path);
    if (length <= offsetof(struct sockaddr_un, sun_path)) {
        return PyUnicode_New(0, 0);
    }
    if (address->sun_path[0] == '\0') {
        return PyBytes_FromStringAndSize(address->sun_path, (Py_ssize_t)room);
    }
    return PyUnicode_DecodeFSDefaultAndSize(
        address->sun_path, (Py_ssize_t)strnlen(address->sun_path, room));
}

PyObject *
address_to_object(const struct sockaddr_storage *address, unsigned length)
{
    if (length == 0) {
        Py_RETURN_NONE; /* a connected stream does not say who sent */
    }
    switch (address->ss_family) {
    case AF_INET:
        return ipv4_to_object((const struct sockaddr_in *)address);
    case AF_INET6:
        return ipv6_to_object((const struct sockaddr_in6 *)address);
    case AF_UNIX:
        return unix_to_object((const struct sockaddr_un *)address, length);
    default: { /* as the socket module shows what it does not know */
        const struct sockaddr *plain = (const struct sockaddr *)address;
        return Py_BuildValue("iy#", (int)plain->sa_family, plain->sa_data,
                             (Py_ssize_t)sizeof(plain->sa_data));
    }
    }
}

/* --- from Python ------------------------------------------------------------------------------ */

/* A small whole number. False: something else, or too large. */
static bool
read_number(PyObject *object, unsigned long most, unsigned long *number)
{
    if (!PyLong_CheckExact(object)) {
        return false;
    }
    *number = PyLong_AsUnsignedLong(object);
    if (*number == (unsigned long)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    return *number <= most;
}

static bool
read_host(int family, PyObject *object, void *host)
{
    if (!PyUnicode_CheckExact(object) || !PyUnicode_IS_COMPACT_ASCII(object)) {
        return false;
    }
    const char *text = (const char *)PyUnicode_1BYTE_DATA(object);
    return strlen(text) == (size_t)PyUnicode_GET_LENGTH(object) &&
           inet_pton(family, text, host) == 1;
}

static bool
read_ipv4(PyObject *object, struct sockaddr_in *address)
{
    unsigned long port;
    if (!PyTuple_CheckExact(object) || PyTuple_GET_SIZE(object) != 2 ||
        !read_host(AF_INET, PyTuple_GET_ITEM(object, 0), &address->sin_addr) ||
        !read_number(PyTuple_GET_ITEM(object, 1), UINT16_MAX, &port)) {
        return false;
    }
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)port);
    return true;
}

static bool
read_ipv6(PyObject *object, struct sockaddr_in6 *address)
{
    enum { FLOW_MAX = 0xfffff };
    unsigned long port, flow = 0, scope = 0;
    Py_ssize_t size = PyTuple_CheckExact(object) ? PyTuple_GET_SIZE(object) : 0;
    if (size < 2 || size > 4 ||
        !read_host(AF_INET6, PyTuple_GET_ITEM(object, 0), &address->sin6_addr) ||
        !read_number(PyTuple_GET_ITEM(object, 1), UINT16_MAX, &port) ||
        (size > 2 && !read_number(PyTuple_GET_ITEM(object, 2), FLOW_MAX, &flow)) ||
        (size > 3 && !read_number(PyTuple_GET_ITEM(object, 3), UINT32_MAX, &scope))) {
        return false;
    }
    address->sin6_family = AF_INET6;
    address->sin6_port = htons((uint16_t)port);
    address->sin6_flowinfo = htonl((uint32_t)flow);
    address->sin6_scope_id = (uint32_t)scope;
    return true;
}

/* An empty name, and one that begins with a zero, have no zero behind them. */
static bool
read_unix_bytes(PyObject *path, struct sockaddr_un *address, unsigned *length)
{
    size_t size = (size_t)PyBytes_GET_SIZE(path);
    const char *text = PyBytes_AS_STRING(path);
    size_t zero = size != 0 && text[0] != '\0' ? 1 : 0;
    if (size + zero > sizeof(address->sun_path)) {
        return false;
    }
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, text, size);
    *length = (unsigned)(offsetof(struct sockaddr_un, sun_path) + size + zero);
    return true;
}

static bool
read_unix(PyObject *object, struct sockaddr_un *address, unsigned *length)
{
    PyObject *path = NULL;
    if (PyBytes_CheckExact(object)) {
        path = Py_NewRef(object);
    } else if (PyUnicode_CheckExact(object)) {
        path = PyUnicode_EncodeFSDefault(object);
    }
    if (path == NULL) {
        PyErr_Clear();
        return false;
    }
    bool done = read_unix_bytes(path, address, length);
    Py_DECREF(path);
    return done;
}

int
address_from_object(int family, PyObject *object, struct sockaddr_storage *address,
                    unsigned *length)
{
    memset(address, 0, sizeof(*address));
    switch (family) {
    case AF_INET:
        *length = sizeof(struct sockaddr_in);
        return read_ipv4(object, (struct sockaddr_in *)address);
    case AF_INET6:
        *length = sizeof(struct sockaddr_in6);
        return read_ipv6(object, (struct sockaddr_in6 *)address);
    case AF_UNIX:
        return read_unix(object, (struct sockaddr_un *)address, length);
    default:
        return 0;
    }
}

/* --- socket objects --------------------------------------------------------------------------- */

struct socket_layout { /* how the objects of _socket.socket begin */
    PyObject_HEAD struct socket_facts facts;
};

static PyTypeObject *socket_type; /* owned for ever: socket.socket */
static bool layout_is_known;

bool
socket_read_facts(PyObject *sock, struct socket_facts *facts)
{
    if (UNLIKELY(Py_TYPE(sock) != socket_type || !layout_is_known)) {
        return false;
    }
    *facts = ((const struct socket_layout *)sock)->facts;
    return true;
}

/* Of a subclass as well: whatever its methods do, the descriptor is where it is. */
int
socket_fd_now(PyObject *sock, int fd)
{
    if (sock == NULL || !layout_is_known || !PyObject_TypeCheck(sock, socket_type)) {
        return fd;
    }
    return ((const struct socket_layout *)sock)->facts.fd == fd ? fd : -1;
}

static int
ask_number(PyObject *sock)
{
    PyObject *number = PyObject_CallMethodNoArgs(sock, names.fileno);
    long fd = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (fd == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError) ||
            PyErr_ExceptionMatches(PyExc_TypeError) ||
            PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_ValueError, "Invalid file object: %R", sock);
        }
        return -1;
    }
    if (fd < 0 || fd > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %ld", fd);
        return -1;
    }
    return (int)fd;
}

int
socket_number(PyObject *sock)
{
    struct socket_facts facts;
    if (LIKELY(socket_read_facts(sock, &facts) && facts.fd >= 0)) {
        return facts.fd;
    }
    return ask_number(sock);
}

PyObject *
socket_from_accepted(const struct socket_facts *facts)
{
    return PyObject_CallFunction((PyObject *)socket_type, "iiii", facts->family,
                                 facts->type | SOCK_NONBLOCK, facts->proto, facts->fd);
}

/* The values differ from each other, so that none is taken for another. */
static int
check_layout(void)
{
    PyObject *sock = PyObject_CallFunction((PyObject *)socket_type, "iii", AF_UNIX,
                                           SOCK_SEQPACKET, PF_UNIX);
    if (sock == NULL && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear(); /* no sockets here: then nobody will ask for their numbers */
        return 0;
    }
    int fd = sock == NULL ? -1 : ask_number(sock);
    if (fd >= 0 && Py_TYPE(sock)->tp_basicsize >= (int)sizeof(struct socket_layout)) {
        const struct socket_facts *facts = &((const struct socket_layout *)sock)->facts;
        layout_is_known = facts->fd == fd && facts->family == AF_UNIX &&
                          facts->type == SOCK_SEQPACKET && facts->proto == PF_UNIX;
    }
    PyObject *res = fd < 0 ? NULL : PyObject_CallMethod(sock, "close", NULL);
    Py_XDECREF(res);
    Py_XDECREF(sock);
    return res == NULL ? -1 : 0;
}

int
address_init(PyObject *module)
{
    (void)module;
    static PyObject *type;
    if (module_attribute(&type, "socket", "socket") == NULL) {
        return -1;
    }
    if (!PyType_Check(type)) {
        return 0; /* replaced by something else: every socket is asked */
    }
    socket_type = (PyTypeObject *)type;
    return check_layout();
}
