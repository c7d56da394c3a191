/* The socket calls of the loop, for its table of methods. */
#ifndef SYSLET_SOCK_H
#define SYSLET_SOCK_H

#define SOCK_METHODS

#endif
