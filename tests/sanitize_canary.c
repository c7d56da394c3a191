/* Two errors that the sanitizers must catch, or `make san` proves nothing. Built and
 * called by sanitize.sh only, with the flags of the real build. */
#include <stdlib.h>

__attribute__((visibility("default"))) int
read_freed(int index)
{
    char *volatile memory = calloc(16, 1);
    free(memory);
    return memory[index];
}

__attribute__((visibility("default"))) int
overflow(int number)
{
    return number + 1;
}
