/* The addresses that a datagram transport has seen lately.
 *
 * A server answers whoever wrote, and a client writes to the same few places; so the
 * tuple of a sender is made once, and the address in a tuple is read once. An entry of
 * `senders` is found by the address, one of `targets` by the tuple itself, which cannot
 * change: only tuples of plain strings and numbers get in. A new one takes the place of
 * an older one that hashes alike. Unix addresses are converted each time. */
#include "datagram.h"

#include <sys/socket.h>

static bool
is_cached(const struct sockaddr_storage *address, unsigned size)
{
    return size <= ADDRESS_BYTES && size >= 16 &&
           (address->ss_family == AF_INET || address->ss_family == AF_INET6);
}

static uint32_t
mix(uint64_t value)
{
    return (uint32_t)((value * 0x9e3779b97f4a7c15u) >> 32);
}

static struct known_address *
sender_entry(struct datagram *self, const struct sockaddr_storage *address,
             unsigned size)
{
    uint64_t first, second = 0;
    memcpy(&first, address, sizeof(first)); /* family, port and the IPv4 host */
    if (size >= 24) {
        memcpy(&second, (const char *)address + 16, sizeof(second));
    }
    return &self->senders[mix(first ^ second) % KNOWN_SENDERS];
}

static struct known_address *
target_entry(struct datagram *self, PyObject *object)
{
    return &self->targets[mix((uintptr_t)object) % KNOWN_TARGETS];
}

static void
remember(struct known_address *entry, PyObject *object,
         const struct sockaddr_storage *address, unsigned size)
{
    entry->raw.size = (uint8_t)size;
    memcpy(entry->raw.bytes, address, size);
    Py_XSETREF(entry->object, Py_NewRef(object));
}

PyObject *
datagram_sender(struct datagram *self, const struct sockaddr_storage *address,
                unsigned size)
{
    self->latest = NULL;
    if (!is_cached(address, size)) {
        return address_to_object(address, size);
    }
    struct known_address *entry = sender_entry(self, address, size);
    if (entry->object == NULL || entry->raw.size != size ||
        memcmp(entry->raw.bytes, address, size) != 0) {
        PyObject *object = address_to_object(address, size);
        if (object == NULL) {
            return NULL;
        }
        remember(entry, object, address, size);
        Py_DECREF(object);
    }
    self->latest = entry;
    return Py_NewRef(entry->object);
}

int
datagram_target(struct datagram *self, PyObject *object,
                struct sockaddr_storage *storage, const void **address, unsigned *size)
{
    struct known_address *entry = self->latest;
    if (entry == NULL || entry->object != object) {
        entry = target_entry(self, object);
    }
    if (entry->object == object) {
        *address = entry->raw.bytes;
        *size = entry->raw.size;
        return 1;
    }
    int res = address_from_object(self->family, object, storage, size);
    *address = storage;
    if (res == 1 && is_cached(storage, *size)) {
        remember(entry, object, storage, *size);
    }
    return res;
}

void
datagram_forget_addresses(struct datagram *self)
{
    self->latest = NULL;
    for (int i = 0; i < KNOWN_SENDERS; i++) {
        Py_CLEAR(self->senders[i].object);
    }
    for (int i = 0; i < KNOWN_TARGETS; i++) {
        Py_CLEAR(self->targets[i].object);
    }
}
