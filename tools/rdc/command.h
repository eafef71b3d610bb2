/* The commands of rdc itself. */
#ifndef RDC_TOOL_COMMAND_H
#define RDC_TOOL_COMMAND_H

#include "settings.h"

struct command {
    const char *name;
    const char *arguments;
    const char *summary;
    /* Its own options, separated by blanks. */
    const char *options;
    /* Whether it asks each node, so that one that is down should not delay it for long. */
    int is_probe;
    /* Whether it takes arguments. */
    int least, most;
    int (*run)(const struct settings *settings, int argc, char **argv);
};

enum { ANY_NUMBER = 1 << 20 };

/* All commands, up to one without a name. */
const struct command *all_commands(void);
/* NULL if rdc has no command of this name. */
const struct command *find_command(const char *name);

/* Each is described in the table of command.c, runs one command and returns an exit code. */
int run_bench(const struct settings *settings, int argc, char **argv);
int run_call(const struct settings *settings, int argc, char **argv);
int run_completion(const struct settings *settings, int argc, char **argv);
int run_doctor(const struct settings *settings, int argc, char **argv);
int run_explain(const struct settings *settings, int argc, char **argv);
int run_help(const struct settings *settings, int argc, char **argv);
int run_latency(const struct settings *settings, int argc, char **argv);
int run_ping(const struct settings *settings, int argc, char **argv);
int run_scan(const struct settings *settings, int argc, char **argv);
int run_stats(const struct settings *settings, int argc, char **argv);
int run_topology(const struct settings *settings, int argc, char **argv);
int run_version(const struct settings *settings, int argc, char **argv);
/* Commands from standard input, one a line. */
int run_stdin(const struct settings *settings);

#endif
