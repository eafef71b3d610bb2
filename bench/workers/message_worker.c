/*
 * Runs the workload of one subscriber in a process of its own. The protocol is that of worker.c, for HOST:PORT of one
 * server. The workloads:
 *
 *     subscribe 0      subscribes to the channel; answers "ok 1"
 *     messages N       takes N messages, which have been published; a turn is TURN messages
 */
#include "message_peer.h"
#include "timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TURN = 1000 };

static int run_turns(long count)
{
    static struct samples turns;
    turns.len = 0;
    int64_t cpu = cpu_ns(), began = now_ns(), at = began;
    for (long taken = 0, turn = 0; taken < count;) {
        long more = peer_take();
        if (more < 0)
            return -1;
        taken += more;
        turn += more;
        if (turn >= TURN) {
            int64_t then = now_ns();
            add_sample(&turns, (then - at) * TURN / turn);
            at = then;
            turn = 0;
        }
    }
    int64_t wall = now_ns() - began, used = cpu_ns() - cpu;
    if (turns.len == 0)
        add_sample(&turns, wall);
    sort_samples(&turns);
    printf("ok %ld %lld %lld %u %u\n", count, (long long)wall, (long long)used, turns.ns[turns.len / 2],
           turns.ns[turns.len - 1 - turns.len / 100]);
    return 0;
}

int main(int argc, char **argv)
{
    char name[32];
    long long budget_ms;
    long arg;
    char *colon = argc == 2 ? strrchr(argv[1], ':') : NULL;
    if (!colon) {
        fprintf(stderr, "usage: %s HOST:PORT\n", argv[0]);
        return 2;
    }
    *colon = '\0';
    while (scanf("%31s %lld %ld", name, &budget_ms, &arg) == 3) {
        int result = 0;
        if (strcmp(name, "messages") == 0)
            result = run_turns(arg);
        else if (strcmp(name, "subscribe") != 0)
            printf("unsupported\n");
        else if ((result = peer_subscribe(argv[1], atoi(colon + 1))) == 0)
            printf("ok 1\n");
        if (result != 0)
            printf("something else than a message was received\n");
        fflush(stdout);
        if (result != 0)
            return 1;
    }
    return 0;
}
