#include "info.h"

#include <stdlib.h>
#include <string.h>

/* The text behind "name:" at the beginning of a line, or NULL. */
static const char *find(const rdc_reply *info, const char *name) {
    const char *at = rdc_reply_error(info) == RDC_OK ? rdc_reply_str(info) : NULL;
    size_t len = strlen(name);
    while (at != NULL) {
        if (strncmp(at, name, len) == 0 && at[len] == ':')
            return at + len + 1;
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return NULL;
}

const char *info_field(const rdc_reply *info, const char *name, char *value, size_t size) {
    const char *at = find(info, name);
    size_t len = at != NULL ? strcspn(at, "\r\n") : 0;
    len = len < size ? len : size - 1;
    if (len > 0)
        memcpy(value, at, len);
    value[len] = '\0';
    return value;
}

long long info_number(const rdc_reply *info, const char *name) {
    const char *at = find(info, name);
    return at != NULL ? strtoll(at, NULL, 10) : -1;
}

long long info_lag_bytes(const rdc_reply *primary, const rdc_reply *replica) {
    long long written = info_number(primary, "master_repl_offset"), copied = info_number(replica, "slave_repl_offset");
    if (written < 0 || copied < 0)
        return -1;
    return written > copied ? written - copied : 0;
}
