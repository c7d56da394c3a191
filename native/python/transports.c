/* The types of transports and listeners, made when the module is imported. */
#include "loop.h"

int
transports_init(PyObject *module)
{
    (void)module;
    return 0;
}
