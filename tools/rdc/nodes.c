#include "nodes.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 16384 };

static void add(struct nodes *nodes, const rdc_reply *fields, size_t shard, int is_replica) {
    struct node *node = &nodes->items[nodes->n];
    if (rdc_reply_type(fields) != RDC_MAP)
        return;
    node->address = rdc_reply_str(rdc_reply_find(fields, "address"));
    node->id = rdc_reply_str(rdc_reply_find(fields, "id"));
    node->fields = fields;
    node->shard = shard;
    node->is_replica = is_replica;
    nodes->n++;
}

void nodes_read(struct nodes *nodes, const rdc_client *client) {
    size_t i, j, most = 0;
    memset(nodes, 0, sizeof *nodes);
    nodes->topology = rdc_topology(client);
    if (rdc_reply_type(nodes->topology) != RDC_ARRAY)
        return;
    nodes->shards = rdc_reply_len(nodes->topology);
    for (i = 0; i < nodes->shards; i++)
        most += 1 + rdc_reply_len(rdc_reply_find(rdc_reply_at(nodes->topology, i), "replicas"));
    nodes->items = allocate(most, sizeof *nodes->items);
    for (i = 0; i < nodes->shards; i++) {
        const rdc_reply *shard = rdc_reply_at(nodes->topology, i), *replicas = rdc_reply_find(shard, "replicas");
        add(nodes, rdc_reply_find(shard, "primary"), i, 0);
        for (j = 0; j < rdc_reply_len(replicas); j++)
            add(nodes, rdc_reply_at(replicas, j), i, 1);
    }
}

void nodes_free(struct nodes *nodes) {
    rdc_reply_free(nodes->topology);
    free(nodes->items);
}

int nodes_width(const struct nodes *nodes) {
    size_t i, width = 22;
    for (i = 0; i < nodes->n; i++)
        if (strlen(nodes->items[i].address) > width)
            width = strlen(nodes->items[i].address);
    return (int)width;
}

const struct node *nodes_find(const struct nodes *nodes, const char *address) {
    size_t i;
    for (i = 0; i < nodes->n; i++)
        if (strcmp(nodes->items[i].address, address) == 0)
            return &nodes->items[i];
    return NULL;
}

const struct node *nodes_primary(const struct nodes *nodes, size_t shard) {
    size_t i;
    for (i = 0; i < nodes->n; i++)
        if (nodes->items[i].shard == shard && !nodes->items[i].is_replica)
            return &nodes->items[i];
    return NULL;
}

const char *node_role(const struct node *node) {
    return node->is_replica ? "replica" : "primary";
}

static const rdc_reply *ranges_of(const struct nodes *nodes, size_t shard) {
    return rdc_reply_find(rdc_reply_at(nodes->topology, shard), "slots");
}

static int bound(const rdc_reply *range, size_t which) {
    return (int)rdc_reply_int(rdc_reply_at(range, which));
}

int nodes_unserved(const struct nodes *nodes, int *first, int *last) {
    static unsigned char is_served[SLOTS];
    int slot, n = 0;
    size_t i, j;
    memset(is_served, 0, sizeof is_served);
    for (i = 0; i < nodes->shards; i++) {
        const rdc_reply *ranges = ranges_of(nodes, i);
        for (j = 0; j < rdc_reply_len(ranges); j++)
            for (slot = bound(rdc_reply_at(ranges, j), 0); slot <= bound(rdc_reply_at(ranges, j), 1); slot++)
                if (slot >= 0 && slot < SLOTS)
                    is_served[slot] = 1;
    }
    for (slot = 0; slot < SLOTS; slot++) {
        if (is_served[slot])
            continue;
        if (n == 0)
            *first = slot;
        if (n == 0 || *last == slot - 1)
            *last = slot;
        n++;
    }
    return n;
}

void nodes_slots(const struct nodes *nodes, size_t shard, char *text, size_t size) {
    const rdc_reply *ranges = ranges_of(nodes, shard);
    size_t i, len = 0;
    snprintf(text, size, "none");
    for (i = 0; i < rdc_reply_len(ranges); i++) {
        int first = bound(rdc_reply_at(ranges, i), 0), last = bound(rdc_reply_at(ranges, i), 1), n;
        n = snprintf(text + len, size - len, first == last ? "%s%d" : "%s%d-%d", i > 0 ? " " : "", first, last);
        if (n < 0 || (size_t)n >= size - len) {
            if (size > 4)
                memcpy(text + size - 4, "...", 4);
            return;
        }
        len += (size_t)n;
    }
}
