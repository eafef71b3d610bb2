#define _POSIX_C_SOURCE 200809L
#include "watch.h"
#include "clock.h"
#include "interrupt.h"

#include <stdio.h>
#include <unistd.h>

static void print(const struct settings *settings, struct text *out, int is_first) {
    if (settings->is_watching && !is_json(settings)) {
        if (isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        else if (!is_first)
            putchar('\n');
    }
    text_print(out);
    fflush(stdout);
}

int watch(const struct settings *settings, report_fn report, void *state) {
    double interval_s = settings->interval_s > 0 ? settings->interval_s : 1;
    int64_t interval = (int64_t)(interval_s * 1e9), next = monotonic_ns();
    struct text out = {NULL, 0, 0};
    rdc_client *client = client_open(settings);
    double n = 0;
    int code;
    if (client == NULL)
        return MISUSED;
    for (;;) {
        code = report(settings, client, state, &out);
        /* Ctrl-C is the usual end of --watch; of a single report, half is not worth printing. */
        if (is_interrupted())
            code = settings->is_watching ? DONE : INTERRUPTED;
        else
            print(settings, &out, n == 0);
        n++;
        if (!settings->is_watching || is_interrupted() || (settings->count > 0 && n >= settings->count))
            break;
        next += interval;
        wait_ns(next - monotonic_ns());
        if (is_interrupted())
            break;
    }
    text_free(&out);
    rdc_close(client);
    return code;
}
