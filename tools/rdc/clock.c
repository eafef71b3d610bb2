#define _POSIX_C_SOURCE 200809L
#include "clock.h"

#include <time.h>

static int64_t read_clock(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t monotonic_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t calendar_ns(void) {
    return read_clock(CLOCK_REALTIME);
}

void wait_ns(int64_t ns) {
    struct timespec time;
    if (ns <= 0)
        return;
    time.tv_sec = (time_t)(ns / 1000000000);
    time.tv_nsec = (long)(ns % 1000000000);
    nanosleep(&time, NULL);
}
