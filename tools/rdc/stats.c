#include "client.h"
#include "clock.h"
#include "command.h"
#include "json.h"
#include "watch.h"

#include <stdio.h>
#include <string.h>

/* The report before, to print how much was added each second. */
struct before {
    rdc_reply *stats;
    int64_t time;
};

static void add_counter(struct text *out, const struct before *before, const char *name, long long value, double s) {
    const rdc_reply *old = rdc_reply_find(before->stats, name);
    int is_counter = strcmp(name, "connected") != 0 && strcmp(name, "topology_version") != 0;
    if (old != NULL && is_counter && s > 0)
        text_format(out, "%-24s %12lld %12.1f/s\n", name, value, (double)(value - rdc_reply_int(old)) / s);
    else
        text_format(out, "%-24s %12lld\n", name, value);
}

static void add_nodes(struct text *out, const rdc_reply *nodes) {
    const char *const columns[] = {"connections", "connects", "failures", "reads"};
    size_t i, j;
    text_format(out, "%-24s", "node");
    for (j = 0; j < 4; j++)
        text_format(out, " %12s", columns[j]);
    text_add_string(out, "  health\n");
    for (i = 0; i + 1 < rdc_reply_len(nodes); i += 2) {
        const rdc_reply *node = rdc_reply_at(nodes, i + 1);
        text_format(out, "%-24s", rdc_reply_str(rdc_reply_at(nodes, i)));
        for (j = 0; j < 4; j++)
            text_format(out, " %12lld", (long long)rdc_reply_int(rdc_reply_find(node, columns[j])));
        text_format(out, "  %s\n", rdc_reply_str(rdc_reply_find(node, "health")));
    }
}

static void add_text(struct text *out, const struct before *before, const rdc_reply *stats, double s) {
    size_t i;
    for (i = 0; i + 1 < rdc_reply_len(stats); i += 2) {
        const rdc_reply *value = rdc_reply_at(stats, i + 1);
        if (rdc_reply_type(value) == RDC_INTEGER)
            add_counter(out, before, rdc_reply_str(rdc_reply_at(stats, i)), (long long)rdc_reply_int(value), s);
    }
    add_nodes(out, rdc_reply_find(stats, "nodes"));
}

/* The nodes are pinged first, so that their health is that of now. */
static int report(const struct settings *settings, rdc_client *client, void *state, struct text *out) {
    struct before *before = state;
    rdc_reply *stats;
    int64_t now;
    int code = client_connect(client);
    if (code != DONE)
        return code;
    rdc_reply_free(client_command_to(client, "all", "PING"));
    stats = rdc_stats(client);
    now = monotonic_ns();
    if (is_json(settings)) {
        json_reply(out, stats);
        text_add_char(out, '\n');
    } else {
        add_text(out, before, stats, (double)(now - before->time) / 1e9);
    }
    rdc_reply_free(before->stats);
    before->stats = stats;
    before->time = now;
    return code;
}

int run_stats(const struct settings *settings, int argc, char **argv) {
    struct before before = {NULL, 0};
    int code = watch(settings, report, &before);
    (void)argc;
    (void)argv;
    rdc_reply_free(before.stats);
    return code;
}
