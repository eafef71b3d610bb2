/* The nodes of the cluster, as the library knows them. */
#ifndef RDC_TOOL_NODES_H
#define RDC_TOOL_NODES_H

#include <rediscluster.h>

struct node {
    const char *address, *id;
    /* Its map in rdc_topology(). */
    const rdc_reply *fields;
    size_t shard;
    int is_replica;
};

struct nodes {
    rdc_reply *topology;
    struct node *items;
    size_t n, shards;
};

/* Shard by shard, its primary first.  Does no I/O. */
void nodes_read(struct nodes *nodes, const rdc_client *client);
void nodes_free(struct nodes *nodes);
/* The length of the longest address, and at least 22. */
int nodes_width(const struct nodes *nodes);
/* NULL if there is no such node. */
const struct node *nodes_find(const struct nodes *nodes, const char *address);
/* The primary of a shard, or NULL. */
const struct node *nodes_primary(const struct nodes *nodes, size_t shard);
const char *node_role(const struct node *node);
/* The number of hash slots without a node; `first` and `last` become the first range of them. */
int nodes_unserved(const struct nodes *nodes, int *first, int *last);
/* "0-5460", or "0-99 200-299". */
void nodes_slots(const struct nodes *nodes, size_t shard, char *text, size_t size);

#endif
