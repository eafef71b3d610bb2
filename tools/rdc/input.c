#define _POSIX_C_SOURCE 200809L
#include "input.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int input_read(struct text *text) {
    static char buffer[65536];
    ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno != EINTR) {
        perror("rdc: standard input");
        return -1;
    }
    if (n <= 0)
        return 0;
    text_add(text, buffer, (size_t)n);
    return 1;
}

int input_read_all(struct text *text) {
    int more;
    do
        more = input_read(text);
    while (more > 0);
    return more;
}
