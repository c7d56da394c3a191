/* libFuzzer's entry to fuzz.c: an input that fails ends the process. Built by
 * tests/fuzz/fuzz.sh. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *failure = fuzz_one(data, size);
    if (failure != NULL) {
        fprintf(stderr, "FAILED: %s\n", failure);
        abort();
    }
    return 0;
}
