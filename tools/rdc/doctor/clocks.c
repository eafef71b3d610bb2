#include "../clock.h"
#include "../interrupt.h"
#include "doctor.h"

#include <math.h>
#include <stdlib.h>

static const double MUCH_SKEW_S = 0.5;

/* By how many seconds the clock of a node is ahead.  Returns 0 if that is unknown.  `error` becomes half of the time
   that the call took. */
static int read_skew(const struct doctor *doctor, const char *address, double *skew, double *error) {
    int64_t began = calendar_ns(), ended, ns;
    rdc_reply *reply = client_command_to(doctor->client, address, "TIME");
    const char *seconds = rdc_reply_str(rdc_reply_at(reply, 0)), *micros = rdc_reply_str(rdc_reply_at(reply, 1));
    int is_known = rdc_reply_error(reply) == RDC_OK && seconds != NULL && micros != NULL;
    ended = calendar_ns();
    if (is_known) {
        ns = strtoll(seconds, NULL, 10) * 1000000000 + strtoll(micros, NULL, 10) * 1000;
        *skew = (double)(ns - (began + (ended - began) / 2)) / 1e9;
        *error = (double)(ended - began) / 2e9;
    }
    rdc_reply_free(reply);
    return is_known;
}

void check_clocks(struct doctor *doctor) {
    size_t i, known = 0, wrong = 0;
    double most = 0;
    for (i = 0; i < doctor->nodes.n && !is_interrupted(); i++) {
        const char *address = doctor->nodes.items[i].address;
        double skew, error;
        /* A node that did not answer before would cost its whole timeout again. */
        if (doctor->is_silent[i] || !read_skew(doctor, address, &skew, &error))
            continue;
        known++;
        most = fabs(skew) > fabs(most) ? skew : most;
        if (fabs(skew) <= MUCH_SKEW_S + error)
            continue;
        wrong++;
        found(&doctor->findings, WARN, "clocks",
              "synchronize it (chrony, ntpd): EXPIREAT and failovers move expiry times", "%s is %.3f s %s this machine",
              address, fabs(skew), skew > 0 ? "ahead of" : "behind");
    }
    if (known == 0)
        found(&doctor->findings, OK, "clocks", NULL, "not compared: the user may not run TIME");
    else if (wrong == 0)
        found(&doctor->findings, OK, "clocks", NULL, "%lu nodes differ from this machine by at most %.3f s",
              (unsigned long)known, fabs(most));
}
