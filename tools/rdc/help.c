#include "command.h"

#include <rediscluster.h>
#include <stdio.h>
#include <string.h>

static void print_option(const struct option *option) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", option->name, option->value != NULL ? " " : "",
             option->value != NULL ? option->value : "");
    if (option->letter != 0)
        printf("  -%c, %-20s %s\n", option->letter, left, option->help);
    else
        printf("      %-20s %s\n", left, option->help);
}

/* The options of all commands (`also` is NULL), or only those that a command has in addition. */
static void print_options(const char *also) {
    const struct option *option;
    for (option = all_options(); option->name != NULL; option++)
        if (is_option_of(option, also) && (also == NULL || !is_option_of(option, NULL)))
            print_option(option);
}

static void print_overview(void) {
    const struct command *command;
    printf("Looks inside a Redis or Valkey cluster, through librediscluster.\n\n"
           "usage: rdc [OPTION...] COMMAND [ARG...]\n"
           "       rdc [OPTION...] < FILE            commands from standard input, one a line\n\n"
           "Commands of rdc:\n");
    for (command = all_commands(); command->name != NULL; command++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", command->name, command->arguments);
        printf("  %-26s %s\n", left, command->summary);
    }
    printf("\nEvery other command is sent to the cluster: rdc get k, rdc set k v, rdc hgetall h ...\n\nOptions:\n");
    print_options(NULL);
    printf("\nOptions in front of a command that is sent to the cluster:\n");
    print_options("node stdin");
    printf("\nExit codes: 0, 1 after an error, 2 for a wrong command line, 130 after Ctrl-C.\n"
           "RDC_LOG=error|warn|info|debug[:FILE] prints the log of the library.\n");
}

static void print_command(const struct command *command) {
    printf("usage: rdc %s%s%s%s\n\n%c%s.\n", command->name, *command->options != '\0' ? " [OPTION...]" : "",
           *command->arguments != '\0' ? " " : "", command->arguments, command->summary[0] - 'a' + 'A',
           command->summary + 1);
    if (*command->options != '\0') {
        printf("\nOptions, beside those of rdc help:\n");
        print_options(command->options);
    }
}

int run_help(const struct settings *settings, int argc, char **argv) {
    const struct command *command;
    (void)settings;
    if (argc == 0) {
        print_overview();
        return DONE;
    }
    command = find_command(argv[0]);
    if (command == NULL)
        return misuse("rdc has no command '%s' of its own: it is sent to the cluster", argv[0]);
    print_command(command);
    return DONE;
}

int run_version(const struct settings *settings, int argc, char **argv) {
    (void)settings;
    (void)argc;
    (void)argv;
    printf("rdc %s\n", rdc_version());
    return DONE;
}
