#define _XOPEN_SOURCE 700 /* SA_RESETHAND */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

static rdc_client *volatile interrupted_client;
static volatile sig_atomic_t was_interrupted;

/* rdc_interrupt() is async-signal-safe, and does nothing for a handle that was closed. */
static void on_signal(int signal) {
    (void)signal;
    was_interrupted = 1;
    rdc_interrupt(interrupted_client);
}

void interrupt_calls_of(rdc_client *client) {
    struct sigaction action;
    int is_first = interrupted_client == NULL;
    interrupted_client = client;
    if (!is_first)
        return;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int is_interrupted(void) {
    return was_interrupted;
}
