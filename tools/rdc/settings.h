/* What the command line asks for. */
#ifndef RDC_TOOL_SETTINGS_H
#define RDC_TOOL_SETTINGS_H

#include <stddef.h>

/* Exit codes. */
enum { DONE = 0, FAILED = 1, MISUSED = 2, INTERRUPTED = 130 };

enum form {
    FORM_AUTO, /* typed on a terminal, raw otherwise */
    FORM_TYPED,
    FORM_RAW,
    FORM_JSON
};

struct settings {
    const char *url;
    /* Options of the library, as "name=value", in order. */
    const char **options;
    size_t n_options;
    const char *read_from;
    enum form form;
    int is_last_from_stdin;
    int wants_help, wants_version;
    /* A command that asks each node waits for a shorter time than others, unless timeout_ms is set. */
    int is_probe;
    /* Where a command goes, as for rdc_command_to(); NULL: where it belongs. */
    const char *node;
    /* Repetition: whether, how often (0: until it is interrupted), every so many seconds. */
    int is_watching;
    double count, interval_s, duration_s;
    /* rdc latency */
    const char *key;
    int wants_bars;
    /* rdc bench */
    double threads, pipeline, reads, size, keys;
    /* rdc scan */
    const char *match, *type;
    double batch;
};

/* The values before any option. */
void settings_begin(struct settings *settings);
/* Reads options up to the first other argument, and returns its index, or -1 after a message.  `also` lists the options
   of one command, beside those of all: "watch interval". */
int settings_read(struct settings *settings, const char *also, int argc, char **argv);
void settings_free(struct settings *settings);
/* Whether replies are printed as JSON. */
int is_json(const struct settings *settings);
/* Whether replies are printed with types. */
int is_typed(const struct settings *settings);

/* An option, for help and completion. */
struct option {
    const char *name;
    char letter; /* 0: none */
    const char *value; /* what follows it; NULL: nothing */
    const char *help;
};

/* All options, up to one without a name. */
const struct option *all_options(void);
/* Whether an option is one of all commands, or listed in `also`. */
int is_option_of(const struct option *option, const char *also);
/* Prints what is wrong with the command line to standard error.  Returns MISUSED. */
int misuse(const char *format, ...);

#endif
