#include "../clock.h"
#include "../interrupt.h"
#include "../memory.h"
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a. */
static uint64_t hash(uint64_t seed, const char *bytes, size_t len) {
    size_t i;
    for (i = 0; i < len; i++)
        seed = (seed ^ (unsigned char)bytes[i]) * 1099511628211u;
    return seed;
}

/* A number for which id owns which slots, however a node has divided and ordered the ranges; 0 for an error. */
static uint64_t map_number(const rdc_reply *slots) {
    uint64_t sum = 1;
    size_t i;
    if (rdc_reply_type(slots) != RDC_ARRAY)
        return 0;
    for (i = 0; i < rdc_reply_len(slots); i++) {
        const rdc_reply *range = rdc_reply_at(slots, i), *id = rdc_reply_at(rdc_reply_at(range, 2), 2);
        int64_t slot;
        uint64_t owner = hash(14695981039346656037u, rdc_reply_str(id) != NULL ? rdc_reply_str(id) : "",
                              rdc_reply_str(id) != NULL ? rdc_reply_len(id) : 0);
        for (slot = rdc_reply_int(rdc_reply_at(range, 0)); slot <= rdc_reply_int(rdc_reply_at(range, 1)); slot++)
            sum += hash(owner, (const char *)&slot, sizeof slot);
    }
    return sum;
}

/* The map that most nodes have. */
static uint64_t most_common(const uint64_t *numbers, size_t n) {
    size_t i, j, most = 0;
    uint64_t found = 0;
    for (i = 0; i < n; i++) {
        size_t same = 0;
        for (j = 0; j < n; j++)
            same += numbers[j] == numbers[i];
        if (numbers[i] != 0 && same > most) {
            most = same;
            found = numbers[i];
        }
    }
    return found;
}

/* The number of nodes with another map than most; `name` becomes one of them. */
static size_t count_others(struct doctor *doctor, const char **name) {
    struct answers answers = ask_nodes(doctor, "CLUSTER", "SLOTS");
    size_t n = doctor->nodes.n, i, others = 0;
    uint64_t *numbers = allocate(n, sizeof *numbers), common;
    for (i = 0; i < n; i++)
        numbers[i] = map_number(answer_of(&answers, &doctor->nodes, &doctor->nodes.items[i]));
    common = most_common(numbers, n);
    for (i = 0; i < n; i++) {
        if (numbers[i] == 0 || numbers[i] == common)
            continue;
        others++;
        *name = doctor->nodes.items[i].address;
    }
    free(numbers);
    answers_free(&answers);
    return others;
}

/* Lines of CLUSTER NODES: "id address flags ...". */
static size_t check_failed_nodes(struct doctor *doctor) {
    const unsigned char *answering = memchr(doctor->is_silent, 0, doctor->nodes.n);
    size_t first = answering != NULL ? (size_t)(answering - doctor->is_silent) : 0, n = 0;
    rdc_reply *reply = client_command_to(doctor->client, doctor->nodes.items[first].address, "CLUSTER", "NODES");
    const char *line = rdc_reply_error(reply) == RDC_OK ? rdc_reply_str(reply) : NULL;
    while (line != NULL && *line != '\0') {
        const char *address = line + strcspn(line, " \n"), *flags, *end;
        address += *address == ' ';
        flags = address + strcspn(address, " \n");
        flags += *flags == ' ';
        end = flags + strcspn(flags, " \n");
        if (strstr(flags, "fail") != NULL && strstr(flags, "fail") < end) {
            n++;
            found(&doctor->findings, WARN, "maps", "start it again, or remove it with CLUSTER FORGET on each node",
                  "the other nodes say that %.*s has failed (%.*s)", (int)strcspn(address, "@ \n"), address,
                  (int)(end - flags), flags);
        }
        line = strchr(line, '\n');
        line += line != NULL;
    }
    rdc_reply_free(reply);
    return n;
}

void check_maps(struct doctor *doctor) {
    const char *name = NULL;
    size_t others, failed = check_failed_nodes(doctor);
    others = count_others(doctor, &name);
    if (others > 0 && !is_interrupted()) {
        /* After a failover or a migration, a node learns the new map a moment later. */
        wait_ns(1000000000);
        others = count_others(doctor, &name);
    }
    if (others > 0)
        found(&doctor->findings, FAIL, "maps",
              "let the cluster bus through the firewall (port + 10000), or finish the migration with CLUSTER SETSLOT",
              "%s returns another map than most nodes, and so do %lu more", name, (unsigned long)others - 1);
    else if (failed == 0)
        found(&doctor->findings, OK, "maps", NULL, "the nodes agree");
}
