/* The types of transports and listeners, made when the module is imported. */
#include "transport.h"

int
transports_init(PyObject *module)
{
    return transport_names_init() < 0 || address_init(module) < 0 ||
                   stream_init(module) < 0 || listener_init(module) < 0 ||
                   datagram_init(module) < 0
               ? -1
               : 0;
}
