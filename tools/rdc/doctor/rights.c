#include "doctor.h"

#include <stdio.h>
#include <string.h>

/* A command that the library sends by itself. */
struct right {
    const char *acl;
    const char *args[3];
    /* Whether it changes its connection, and so needs one of its own. */
    int is_pinned;
    enum verdict verdict;
    const char *effect;
};

static const struct right rights[] = {
    {"+cluster|slots", {"CLUSTER", "SLOTS", NULL}, 0, FAIL, "the nodes of the cluster cannot be found"},
    {"+cluster|info", {"CLUSTER", "INFO", NULL}, 0, WARN, "old maps of the cluster are not told from new ones"},
    {"+cluster|myid", {"CLUSTER", "MYID", NULL}, 0, WARN, "another server at the address of a node is not recognized"},
    {"+info", {"INFO", "replication", NULL}, 0, WARN, "the lag of replicas is unknown: bounded reads go to primaries"},
    {"+command|info", {"COMMAND", "INFO", "get"}, 0, WARN, "commands of modules that the library does not know fail"},
    {"+readonly", {"READONLY", NULL, NULL}, 1, WARN, "reads from replicas fail"},
    {"+asking", {"ASKING", NULL, NULL}, 1, WARN, "commands fail while the slot of their key migrates"},
    {"+multi", {"MULTI", NULL, NULL}, 1, WARN, "transactions fail"},
    {"+exec", {"EXEC", NULL, NULL}, 1, WARN, "transactions fail"},
};

static int is_refused(const rdc_reply *reply) {
    return rdc_reply_error(reply) != RDC_OK && rdc_reply_str(reply) != NULL &&
           strstr(rdc_reply_str(reply), "NOPERM") != NULL;
}

/* A node that refuses the command, or NULL. */
static const char *refusing_node(const struct doctor *doctor, size_t argc, const char *const *argv) {
    const struct nodes *nodes = &doctor->nodes;
    struct answers answers = answers_ask(nodes, doctor->is_silent, doctor->client, argc, argv);
    const char *address = NULL;
    size_t i;
    for (i = 0; i < nodes->n && address == NULL; i++)
        if (is_refused(answer_of(&answers, nodes, &nodes->items[i])))
            address = nodes->items[i].address;
    answers_free(&answers);
    return address;
}

static void report(struct doctor *doctor, const struct right *right, const char *address) {
    char todo[96];
    snprintf(todo, sizeof todo, "ACL SETUSER ... %s on each node, and ACL SAVE", right->acl);
    found(&doctor->findings, right->verdict, "rights", todo, "%s refuses %s%s%s: %s", address, right->args[0],
          right->args[1] != NULL ? " " : "", right->args[1] != NULL ? right->args[1] : "", right->effect);
}

/* Tries a command on a connection of its own, at one node.  Returns whether the user may run it. */
static int check_pinned(struct doctor *doctor, const rdc_client *pinned, const struct right *right) {
    rdc_reply *reply = rdc_command(pinned, 1, right->args, NULL);
    int32_t error = rdc_reply_error(reply);
    int is_allowed = error == RDC_OK || (error == RDC_ERR_SERVER && !is_refused(reply));
    if (is_refused(reply))
        report(doctor, right, rdc_reply_node(reply) != NULL ? rdc_reply_node(reply) : "a node");
    else if (!is_allowed)
        found(&doctor->findings, WARN, "rights", advice(reply), "%s was not checked: %s", right->args[0],
              rdc_reply_str(reply));
    rdc_reply_free(reply);
    return is_allowed;
}

/* Tries a command at all nodes.  Returns whether the user may run it. */
static int check_everywhere(struct doctor *doctor, const struct right *right) {
    size_t argc = 0;
    const char *address;
    while (argc < 3 && right->args[argc] != NULL)
        argc++;
    address = refusing_node(doctor, argc, right->args);
    if (address != NULL)
        report(doctor, right, address);
    return address == NULL;
}

/* A key of a shard whose primary answers; "" if there is none. */
static void choose_key(const struct doctor *doctor, char *key, size_t size) {
    const struct nodes *nodes = &doctor->nodes;
    size_t i, j;
    int number;
    for (number = 0; number < 1000; number++) {
        int slot;
        snprintf(key, size, "%d", number);
        slot = rdc_key_slot(key, RDC_NTS);
        for (i = 0; i < nodes->n; i++) {
            const rdc_reply *ranges =
                rdc_reply_find(rdc_reply_at(nodes->topology, nodes->items[i].shard), "slots");
            for (j = 0; !nodes->items[i].is_replica && !doctor->is_silent[i] && j < rdc_reply_len(ranges); j++)
                if (slot >= rdc_reply_int(rdc_reply_at(rdc_reply_at(ranges, j), 0)) &&
                    slot <= rdc_reply_int(rdc_reply_at(rdc_reply_at(ranges, j), 1)))
                    return;
        }
    }
    *key = '\0';
}

void check_rights(struct doctor *doctor) {
    rdc_reply *user = client_command_to(doctor->client, "random", "ACL", "WHOAMI");
    rdc_client *pinned;
    int is_whole = 1;
    char key[16];
    size_t i;
    choose_key(doctor, key, sizeof key);
    pinned = rdc_pin(doctor->client, key, RDC_NTS);
    for (i = 0; i < sizeof rights / sizeof *rights; i++)
        is_whole &= rights[i].is_pinned ? check_pinned(doctor, pinned, &rights[i])
                                        : check_everywhere(doctor, &rights[i]);
    if (is_whole)
        found(&doctor->findings, OK, "rights", NULL, "the user %s may run what the library sends by itself",
              rdc_reply_error(user) == RDC_OK ? rdc_reply_str(user) : "(unknown)");
    rdc_reply_free(user);
    rdc_close(pinned);
}
