#include "../info.h"
#include "doctor.h"

#include <stdio.h>
#include <string.h>

/* "Redis 7.0.15" or "Valkey 9.0.1"; "" if the node does not say. */
static void version_of(const rdc_reply *info, char *version, size_t size) {
    char number[32];
    if (*info_field(info, "valkey_version", number, sizeof number) != '\0')
        snprintf(version, size, "Valkey %s", number);
    else if (*info_field(info, "redis_version", number, sizeof number) != '\0')
        snprintf(version, size, "Redis %s", number);
    else
        *version = '\0';
}

void check_versions(struct doctor *doctor) {
    char first[64] = "", other[64] = "", version[64];
    size_t i;
    for (i = 0; i < doctor->nodes.n; i++) {
        version_of(answer_of(&doctor->server, &doctor->nodes, &doctor->nodes.items[i]), version, sizeof version);
        if (*version != '\0' && *first == '\0')
            strcpy(first, version);
        else if (*version != '\0' && strcmp(version, first) != 0)
            strcpy(other, version);
    }
    if (*first == '\0')
        found(&doctor->findings, OK, "versions", NULL, "not known: the user may not run INFO");
    else if (*other != '\0')
        found(&doctor->findings, WARN, "versions", "finish the upgrade: commands of the newer one fail at the others",
              "%s and %s", first, other);
    else
        found(&doctor->findings, OK, "versions", NULL, "%s, librediscluster %s", first, rdc_version());
}
