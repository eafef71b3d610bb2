#include "command.h"

#include <stddef.h>
#include <string.h>

static const struct command rows[] = {
    {"bench", "", "measure throughput and latency with GET and SET of keys of its own",
     "duration threads pipeline reads size keys", 0, 0, 0, run_bench},
    {"call", "COMMAND [ARG...]", "send a command, also one that rdc has a command of its own for", "node stdin", 0, 1,
     ANY_NUMBER, run_call},
    {"completion", "bash|zsh|fish", "print a completion script for a shell", "", 0, 1, 1, run_completion},
    {"doctor", "", "check the cluster and the way to it, and say what to do", "", 1, 0, 0, run_doctor},
    {"explain", "COMMAND [ARG...]", "say where a command would go and why, without sending it", "", 0, 1, ANY_NUMBER,
     run_explain},
    {"help", "[COMMAND]", "print this text, or the one about a command", "", 0, 0, 1, run_help},
    {"latency", "", "measure the round trip to each node", "duration interval key histogram", 1, 0, 0, run_latency},
    {"ping", "", "ask each node for a PONG, and print how long it takes", "watch interval count", 1, 0, 0, run_ping},
    {"scan", "", "print all keys of the cluster", "node match type batch", 0, 0, 0, run_scan},
    {"stats", "", "ping all nodes, and print statistics of the library", "watch interval count", 1, 0, 0, run_stats},
    {"topology", "", "print shards, slots, nodes, health and lag", "watch interval count", 1, 0, 0, run_topology},
    {"version", "", "print the version", "", 0, 0, 0, run_version},
    {NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

const struct command *all_commands(void) {
    return rows;
}

const struct command *find_command(const char *name) {
    const struct command *command;
    for (command = rows; command->name != NULL; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}
