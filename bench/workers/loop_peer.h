/* What a client for event loops has to be able to do to be measured by loop_worker.c. One thread. */
#ifndef LOOP_PEER_H
#define LOOP_PEER_H

#include <stddef.h>

enum { KEYS = 100000, VALUE = 16 };

/* The names of the keys, and their lengths. */
extern char peer_keys[KEYS][12];
extern size_t peer_key_lens[KEYS];

/* Connects; 0 if that succeeded. */
int loop_open(const char *seeds, int timeout_ms);

/* Submits a GET without waiting for its reply; 0 if that succeeded. */
int loop_get(size_t key);

/* Runs the event loop until at least one GET is complete. Returns how many have completed since the
   last call, or -1 if a reply was wrong. */
long loop_run(void);

/* A GET on the same connections that waits for its reply; 0 if the reply is right, -1 if the client
   has no such call. */
int loop_blocking_get(size_t key);

#endif
