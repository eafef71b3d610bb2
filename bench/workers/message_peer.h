/* What a client has to be able to do to be measured by message_worker.c. One thread. */
#ifndef MESSAGE_PEER_H
#define MESSAGE_PEER_H

#define CHANNEL "burst"

enum { PAYLOAD = 16 };

/* Subscribes to the channel at a server; 0 if that is confirmed. */
int peer_subscribe(const char *host, int port);

/* Waits for messages. Returns how many with a payload of PAYLOAD bytes have been taken, -1 after anything else. */
long peer_take(void);

#endif
