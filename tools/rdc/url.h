/* The parts of a URL of the library. */
#ifndef RDC_TOOL_URL_H
#define RDC_TOOL_URL_H

#include <stddef.h>

struct url {
    /* The scheme, user and password: secret. */
    char *prefix;
    /* "host:port", or the path of a unix socket. */
    char **seeds;
    size_t n;
    /* The database and the options. */
    char *suffix;
    int is_tls, has_password;
};

/* Splits a URL that the library has accepted. */
void url_split(struct url *url, const char *text);
/* The same URL with one seed only.  The caller frees it. */
char *url_with_seed(const struct url *url, size_t i);
void url_free(struct url *url);

#endif
