#include "client.h"
#include "clock.h"
#include "command.h"
#include "interrupt.h"
#include "json.h"
#include "latencies.h"
#include "memory.h"
#include "nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was measured at one node. */
struct row {
    char *address;
    struct latencies latencies;
    unsigned long errors;
    char *error; /* the first one */
    struct row *next;
};

struct rows {
    struct row *first;
};

static char *copy(const char *string) {
    size_t size = strlen(string) + 1;
    return memcpy(allocate(size, 1), string, size);
}

static struct row *row_of(struct rows *rows, const char *address) {
    struct row **at = &rows->first;
    while (*at != NULL && strcmp((*at)->address, address) != 0)
        at = &(*at)->next;
    if (*at == NULL) {
        *at = allocate(1, sizeof **at);
        (*at)->address = copy(address);
    }
    return *at;
}

static void rows_free(struct rows *rows) {
    while (rows->first != NULL) {
        struct row *row = rows->first;
        rows->first = row->next;
        free(row->address);
        free(row->error);
        free(row);
    }
}

static void record(struct rows *rows, const char *node, const rdc_reply *reply, int64_t took) {
    struct row *row;
    if (rdc_reply_error(reply) == RDC_ERR_INTERRUPTED)
        return;
    row = row_of(rows, node != NULL ? node : "no node");
    if (rdc_reply_error(reply) == RDC_OK) {
        latencies_add(&row->latencies, took);
        return;
    }
    row->errors++;
    if (row->error == NULL)
        row->error = copy(rdc_reply_str(reply));
}

static void measure_key(const struct settings *settings, rdc_client *client, struct rows *rows) {
    int64_t began = monotonic_ns();
    rdc_reply *reply = rdc_get(client, settings->key, RDC_NTS);
    record(rows, rdc_reply_node(reply), reply, monotonic_ns() - began);
    rdc_reply_free(reply);
}

/* One PING at each node, one after another. */
static void measure_nodes(rdc_client *client, const struct nodes *nodes, struct rows *rows) {
    size_t i;
    for (i = 0; i < nodes->n && !is_interrupted(); i++) {
        int64_t began = monotonic_ns();
        rdc_reply *reply = client_command_to(client, nodes->items[i].address, "PING");
        record(rows, nodes->items[i].address, reply, monotonic_ns() - began);
        rdc_reply_free(reply);
    }
}

static void print_table(const struct settings *settings, const struct rows *rows) {
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    struct text out = {NULL, 0, 0};
    const struct row *row;
    size_t i;
    int width = 22;
    for (row = rows->first; row != NULL; row = row->next)
        width = (int)strlen(row->address) > width ? (int)strlen(row->address) : width;
    text_format(&out, "%-*s %8s %8s %9s %9s %9s %9s %9s %9s\n", width, "node (ms)", "n", "errors", "min", "p50", "p90",
                "p99", "p99.9", "max");
    for (row = rows->first; row != NULL; row = row->next) {
        text_format(&out, "%-*s %8llu %8lu %9.3f", width, row->address, (unsigned long long)row->latencies.n,
                    row->errors, (double)row->latencies.min / 1e6);
        for (i = 0; i < sizeof shares / sizeof *shares; i++)
            text_format(&out, " %9.3f", (double)latencies_quantile(&row->latencies, shares[i]) / 1e6);
        text_format(&out, " %9.3f\n", (double)row->latencies.max / 1e6);
        if (row->error != NULL)
            text_format(&out, "  %s\n", row->error);
        if (settings->wants_bars)
            latencies_bars(&out, &row->latencies);
    }
    text_print(&out);
    text_free(&out);
}

static void print_json(const struct rows *rows) {
    struct text out = {NULL, 0, 0};
    const struct row *row;
    text_add_char(&out, '[');
    for (row = rows->first; row != NULL; row = row->next) {
        if (row != rows->first)
            text_add_char(&out, ',');
        text_add_string(&out, "{\"node\":");
        json_c_string(&out, row->address);
        text_add_char(&out, ',');
        latencies_json(&out, &row->latencies);
        text_format(&out, ",\"errors\":%lu,\"error\":", row->errors);
        json_c_string(&out, row->error);
        text_add_char(&out, '}');
    }
    text_add_string(&out, "]\n");
    text_print(&out);
    text_free(&out);
}

static int has_errors(const struct rows *rows) {
    const struct row *row;
    for (row = rows->first; row != NULL; row = row->next)
        if (row->errors > 0)
            return 1;
    return 0;
}

/* The first round opens the connections, and does not count. */
static void measure(const struct settings *settings, rdc_client *client, struct rows *rows) {
    double interval_s = settings->interval_s > 0 ? settings->interval_s : 0.01;
    int64_t end = monotonic_ns() + (int64_t)(settings->duration_s * 1e9);
    struct rows first = {NULL};
    struct nodes nodes;
    nodes_read(&nodes, client);
    while (monotonic_ns() < end && !is_interrupted()) {
        struct rows *into = first.first == NULL ? &first : rows;
        if (settings->key != NULL)
            measure_key(settings, client, into);
        else
            measure_nodes(client, &nodes, into);
        wait_ns((int64_t)(interval_s * 1e9));
    }
    rows_free(&first);
    nodes_free(&nodes);
}

int run_latency(const struct settings *settings, int argc, char **argv) {
    rdc_client *client = client_open(settings);
    struct rows rows = {NULL};
    int code;
    (void)argc;
    (void)argv;
    if (client == NULL)
        return MISUSED;
    code = client_connect(client);
    if (code == DONE) {
        measure(settings, client, &rows);
        if (is_json(settings))
            print_json(&rows);
        else
            print_table(settings, &rows);
        code = has_errors(&rows) ? FAILED : DONE;
    }
    rows_free(&rows);
    rdc_close(client);
    return code;
}
