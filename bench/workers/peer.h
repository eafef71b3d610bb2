/* What a client library has to be able to do to be measured by worker.c. */
#ifndef PEER_H
#define PEER_H

#include <stddef.h>

enum { KEYS = 100000, VALUE = 16, MANY = 100, ELEMENTS = 10000, BIG = 10 * 1024 * 1024 };

typedef struct peer peer;

/* KEY(0) ... KEY(KEYS - 1), and their lengths. */
extern char peer_keys[KEYS][12];
extern size_t peer_key_lens[KEYS];

/* Whether threads share one handle, or have one each. */
extern const int peer_is_shared;

/* A connected client that gives up on nothing before `patience_ms`; NULL if there is none. */
peer *peer_open(const char *seeds, int from_replicas, int patience_ms);
void peer_close(peer *p);

/* Each is done once, its reply walked and checked; 0 if all is as it was loaded. */
int peer_get(peer *p, size_t key);
int peer_set(peer *p, size_t key);
int peer_pipeline(peer *p, const size_t *keys, size_t depth);
int peer_mget(peer *p, const size_t *keys);
int peer_lrange(peer *p);
int peer_hgetall(peer *p);
int peer_big(peer *p);

#endif
