/* rdc: looks inside a Redis or Valkey cluster, through librediscluster.  docs/rdc.md is its manual. */
#define _POSIX_C_SOURCE 200809L
#include "command.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What may stand in front of a command that is sent to the cluster. */
static const char call_options[] = "node stdin";

/* Runs a command of rdc, whose options may follow its name. */
static int run_own(struct settings *settings, const struct command *command, int argc, char **argv) {
    int used = settings_read(settings, command->options, argc, argv);
    if (used < 0)
        return MISUSED;
    if (settings->node != NULL && strstr(command->options, "node") == NULL)
        return misuse("rdc %s does not take --node; rdc call %s sends a command", command->name, command->name);
    if (settings->is_last_from_stdin && strstr(command->options, "stdin") == NULL)
        return misuse("rdc %s does not take --stdin", command->name);
    settings->is_probe = command->is_probe;
    argc -= used;
    argv += used;
    if (settings->wants_help) {
        char *name = (char *)command->name;
        return run_help(settings, 1, &name);
    }
    if (argc < command->least)
        return misuse("rdc %s needs %s", command->name, command->arguments);
    if (argc > command->most)
        return misuse("rdc %s takes %s", command->name, command->most == 0 ? "no arguments" : "one argument");
    return command->run(settings, argc, argv);
}

static int run(struct settings *settings, int argc, char **argv) {
    const struct command *command;
    int used = settings_read(settings, call_options, argc, argv);
    if (used < 0)
        return MISUSED;
    argc -= used;
    argv += used;
    if (settings->wants_version)
        return run_version(settings, 0, argv);
    if (argc == 0 && settings->wants_help)
        return run_help(settings, 0, argv);
    if (argc == 0 && isatty(STDIN_FILENO))
        return misuse("a command is missing");
    if (argc == 0 && settings->is_last_from_stdin)
        return misuse("--stdin needs a command");
    if (argc == 0)
        return run_stdin(settings);
    /* It may contain a password, and a server would repeat it in its error. */
    if (strstr(argv[0], "://") != NULL)
        return misuse("a URL needs the option --url");
    command = find_command(argv[0]);
    if (command != NULL)
        return run_own(settings, command, argc - 1, argv + 1);
    return run_call(settings, argc, argv);
}

int main(int argc, char **argv) {
    struct settings settings;
    int code;
    settings_begin(&settings);
    code = run(&settings, argc - 1, argv + 1);
    settings_free(&settings);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("rdc: standard output");
        return code != DONE ? code : FAILED;
    }
    return code;
}
