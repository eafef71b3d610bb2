#include "client.h"
#include "command.h"
#include "info.h"
#include "json.h"
#include "nodes.h"
#include "watch.h"

#include <stdio.h>
#include <string.h>

/* The nodes, and what each says about its replication. */
struct view {
    struct nodes nodes;
    rdc_reply *info;
};

static const rdc_reply *info_of(const struct view *view, const struct node *node) {
    return node != NULL ? rdc_reply_find(view->info, node->address) : NULL;
}

static long long lag_of(const struct view *view, const struct node *node) {
    return info_lag_bytes(info_of(view, nodes_primary(&view->nodes, node->shard)), info_of(view, node));
}

/* "up", "down" or "unknown". */
static const char *link_of(const struct view *view, const struct node *node, char *buffer, size_t size) {
    info_field(info_of(view, node), "master_link_status", buffer, size);
    return *buffer != '\0' ? buffer : "unknown";
}

/* The error that the node's part of the call ended with, or NULL. */
static const char *error_of(const struct view *view, const struct node *node) {
    const rdc_reply *info = info_of(view, node);
    if (rdc_reply_error(view->info) != RDC_OK)
        return rdc_reply_str(view->info);
    return rdc_reply_error(info) != RDC_OK ? rdc_reply_str(info) : NULL;
}

static const char *health_of(const struct view *view, const struct node *node) {
    const rdc_reply *info = info_of(view, node);
    int32_t error = rdc_reply_error(info);
    if (rdc_reply_error(view->info) != RDC_OK)
        return "unknown";
    /* A node that the user may not ask for INFO has answered. */
    if (error == RDC_OK || error == RDC_ERR_SERVER || strncmp(rdc_reply_str(info), "NOPERM", 6) == 0)
        return "healthy";
    return error == RDC_ERR_AUTH ? "refused" : "unreachable";
}

/* The widths of the columns whose content may be long. */
struct widths {
    int slots, address;
};

static void add_columns(struct text *out, const struct widths *widths, const char *const columns[7]) {
    text_format(out, "%-6s %-*s %-8s %-*s %-12s %-8s %s\n", columns[0], widths->slots, columns[1], columns[2],
                widths->address, columns[3], columns[4], columns[5], columns[6]);
}

static void add_row(struct text *out, const struct view *view, const struct node *node, const struct widths *widths,
                    const char *slots) {
    char lag[64] = "-", link[32], shard[32] = "";
    const char *error = error_of(view, node);
    const char *columns[] = {shard, slots, node_role(node), node->address, health_of(view, node), "-", lag};
    if (node->is_replica && lag_of(view, node) >= 0)
        snprintf(lag, sizeof lag, "%lld bytes", lag_of(view, node));
    if (*slots != '\0')
        snprintf(shard, sizeof shard, "%lu", (unsigned long)node->shard + 1);
    if (node->is_replica)
        columns[5] = link_of(view, node, link, sizeof link);
    add_columns(out, widths, columns);
    if (error != NULL)
        text_format(out, "%*s %s\n", 7 + widths->slots, "", error);
}

static void add_table(struct text *out, const struct view *view) {
    static const char *const titles[] = {"shard", "slots", "role", "node", "health", "link", "lag"};
    const struct nodes *nodes = &view->nodes;
    int first = 0, last = 0, unserved = nodes_unserved(nodes, &first, &last);
    struct widths widths = {13, nodes_width(nodes)};
    size_t i, shard = (size_t)-1;
    char slots[64];
    for (i = 0; i < nodes->shards; i++) {
        nodes_slots(nodes, i, slots, sizeof slots);
        widths.slots = (int)strlen(slots) > widths.slots ? (int)strlen(slots) : widths.slots;
    }
    add_columns(out, &widths, titles);
    for (i = 0; i < nodes->n; i++) {
        const struct node *node = &nodes->items[i];
        *slots = '\0';
        if (node->shard != shard)
            nodes_slots(nodes, node->shard, slots, sizeof slots);
        shard = node->shard;
        add_row(out, view, node, &widths, slots);
    }
    if (unserved > 0)
        text_format(out, "%d slots have no node, from %d to %d on\n", unserved, first, last);
}

static void add_json_node(struct text *out, const struct view *view, const struct node *node) {
    char link[32];
    text_add_string(out, "{\"address\":");
    json_c_string(out, node->address);
    text_add_string(out, ",\"id\":");
    json_c_string(out, node->id);
    text_add_string(out, ",\"zone\":");
    json_c_string(out, rdc_reply_str(rdc_reply_find(node->fields, "zone")));
    text_format(out, ",\"health\":\"%s\",\"error\":", health_of(view, node));
    json_c_string(out, error_of(view, node));
    if (node->is_replica) {
        text_add_string(out, ",\"link\":");
        json_c_string(out, link_of(view, node, link, sizeof link));
        text_format(out, ",\"lag_bytes\":%lld", lag_of(view, node));
    }
    text_add_char(out, '}');
}

static void add_json_shard(struct text *out, const struct view *view, size_t shard) {
    const struct nodes *nodes = &view->nodes;
    const struct node *primary = nodes_primary(nodes, shard);
    int n = 0;
    size_t i;
    text_add_string(out, "{\"slots\":");
    json_reply(out, rdc_reply_find(rdc_reply_at(nodes->topology, shard), "slots"));
    text_add_string(out, ",\"primary\":");
    if (primary != NULL)
        add_json_node(out, view, primary);
    else
        text_add_string(out, "null");
    text_add_string(out, ",\"replicas\":[");
    for (i = 0; i < nodes->n; i++) {
        if (nodes->items[i].shard != shard || !nodes->items[i].is_replica)
            continue;
        if (n++ > 0)
            text_add_char(out, ',');
        add_json_node(out, view, &nodes->items[i]);
    }
    text_add_string(out, "]}");
}

static void add_json(struct text *out, const struct view *view) {
    int first = 0, last = 0;
    size_t i;
    text_format(out, "{\"unserved_slots\":%d,\"shards\":[", nodes_unserved(&view->nodes, &first, &last));
    for (i = 0; i < view->nodes.shards; i++) {
        if (i > 0)
            text_add_char(out, ',');
        add_json_shard(out, view, i);
    }
    text_add_string(out, "]}\n");
}

static int report(const struct settings *settings, rdc_client *client, void *state, struct text *out) {
    struct view view;
    int code = client_connect(client);
    (void)state;
    if (code != DONE)
        return code;
    nodes_read(&view.nodes, client);
    view.info = client_command_to(client, "all", "INFO", "replication");
    (is_json(settings) ? add_json : add_table)(out, &view);
    rdc_reply_free(view.info);
    nodes_free(&view.nodes);
    return code;
}

int run_topology(const struct settings *settings, int argc, char **argv) {
    (void)argc;
    (void)argv;
    return watch(settings, report, NULL);
}
