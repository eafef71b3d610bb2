#include "client.h"
#include "clock.h"
#include "command.h"
#include "interrupt.h"
#include "json.h"
#include "nodes.h"
#include "watch.h"

#include <string.h>

/* The first PING of a node opens the connection, so that the second one measures the round trip. */
static rdc_reply *ping(const rdc_client *client, const char *address, int64_t *took) {
    rdc_reply *reply = client_command_to(client, address, "PING");
    int64_t began = monotonic_ns();
    if (rdc_reply_error(reply) != RDC_OK)
        return reply;
    rdc_reply_free(reply);
    reply = client_command_to(client, address, "PING");
    *took = monotonic_ns() - began;
    return reply;
}

static void add_text(struct text *out, const struct node *node, const rdc_reply *reply, int64_t took, int width) {
    if (rdc_reply_error(reply) == RDC_OK)
        text_format(out, "%-*s %s  %8.3f ms\n", width, node->address, node_role(node), (double)took / 1e6);
    else
        text_format(out, "%-*s %s  %s\n", width, node->address, node_role(node), rdc_reply_str(reply));
}

static void add_json(struct text *out, const struct node *node, const rdc_reply *reply, int64_t took) {
    text_add_string(out, "{\"address\":");
    json_c_string(out, node->address);
    text_format(out, ",\"role\":\"%s\"", node_role(node));
    if (rdc_reply_error(reply) == RDC_OK) {
        text_format(out, ",\"us\":%.1f}", (double)took / 1e3);
        return;
    }
    text_add_string(out, ",\"error\":");
    json_c_string(out, rdc_reply_str(reply));
    text_add_char(out, '}');
}

static int report(const struct settings *settings, rdc_client *client, void *state, struct text *out) {
    struct nodes nodes;
    int code = client_connect(client);
    size_t i;
    (void)state;
    if (code != DONE)
        return code;
    nodes_read(&nodes, client);
    if (is_json(settings))
        text_add_char(out, '[');
    for (i = 0; i < nodes.n && !is_interrupted(); i++) {
        int64_t took = 0;
        rdc_reply *reply = ping(client, nodes.items[i].address, &took);
        if (rdc_reply_error(reply) != RDC_OK)
            code = FAILED;
        if (is_json(settings) && i > 0)
            text_add_char(out, ',');
        if (is_json(settings))
            add_json(out, &nodes.items[i], reply, took);
        else
            add_text(out, &nodes.items[i], reply, took, nodes_width(&nodes));
        rdc_reply_free(reply);
    }
    if (is_json(settings))
        text_add_string(out, "]\n");
    nodes_free(&nodes);
    return code;
}

int run_ping(const struct settings *settings, int argc, char **argv) {
    (void)argc;
    (void)argv;
    return watch(settings, report, NULL);
}
