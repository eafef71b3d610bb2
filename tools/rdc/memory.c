#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

static void *check(void *memory) {
    if (memory == NULL) {
        fputs("rdc: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

void *resize(void *memory, size_t size) {
    return check(realloc(memory, size));
}

void *allocate(size_t n, size_t size) {
    return check(calloc(n > 0 ? n : 1, size));
}
