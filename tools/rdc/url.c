#include "url.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

static char *copy(const char *text, size_t len) {
    char *copied = allocate(len + 1, 1);
    memcpy(copied, text, len);
    return copied;
}

/* The end of the seeds: `end_marks` begin what follows them. */
static void split_seeds(struct url *url, const char *text, const char *end_marks, const char *separator) {
    size_t len = strcspn(text, end_marks), at = 0, part;
    url->suffix = copy(text + len, strlen(text + len));
    while (at < len) {
        part = strcspn(text + at, separator);
        part = part < len - at ? part : len - at;
        url->seeds = resize(url->seeds, (url->n + 1) * sizeof *url->seeds);
        url->seeds[url->n++] = copy(text + at, part);
        at += part + 1;
    }
}

void url_split(struct url *url, const char *text) {
    const char *scheme_end = strstr(text, "://"), *seeds, *at;
    int is_unix = strncmp(text, "unix:", 5) == 0;
    memset(url, 0, sizeof *url);
    seeds = scheme_end != NULL ? scheme_end + 3 : text;
    url->is_tls = strncmp(text, "rediss:", 7) == 0 || strncmp(text, "valkeys:", 8) == 0;
    /* The user is in front of the seeds; an "@" in it is escaped. */
    at = seeds + strcspn(seeds, "@/?");
    if (*at == '@') {
        url->has_password = 1;
        seeds = at + 1;
    }
    url->prefix = copy(text, (size_t)(seeds - text));
    split_seeds(url, seeds, is_unix ? "?" : "/?", is_unix ? "?" : ",");
    url->has_password |= strstr(url->suffix, "password") != NULL;
}

char *url_with_seed(const struct url *url, size_t i) {
    size_t size = strlen(url->prefix) + strlen(url->seeds[i]) + strlen(url->suffix) + 1;
    char *text = allocate(size, 1);
    strcpy(text, url->prefix);
    strcat(text, url->seeds[i]);
    strcat(text, url->suffix);
    return text;
}

void url_free(struct url *url) {
    size_t i;
    for (i = 0; i < url->n; i++)
        free(url->seeds[i]);
    free(url->seeds);
    free(url->prefix);
    free(url->suffix);
}
