#define _POSIX_C_SOURCE 200809L
#include "settings.h"
#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the order of `rows`. */
enum id {
    URL,
    OPTION,
    READ_FROM,
    JSON,
    RAW,
    NO_RAW,
    HELP,
    VERSION,
    NODE,
    LAST_ARGUMENT,
    WATCH,
    INTERVAL,
    COUNT,
    DURATION,
    KEY,
    HISTOGRAM,
    THREADS,
    PIPELINE,
    READS,
    SIZE,
    KEYS,
    MATCH,
    TYPE,
    BATCH
};

/* The first rows are options of all commands. */
enum { GLOBAL = VERSION + 1 };

static const struct option rows[] = {
    {"url", 'u', "URL", "the cluster; else RDC_URL, else redis://127.0.0.1:6379"},
    {"option", 'o', "NAME=VALUE", "an option of the library: timeout_ms=500, password_file=FILE ..."},
    {"read-from", 0, "MODE", "primary, any, replica, nearest or zone: which nodes serve reads"},
    {"json", 'j', NULL, "print JSON"},
    {"raw", 0, NULL, "print the bytes of replies alone (the default if the output is no terminal)"},
    {"no-raw", 0, NULL, "print replies with types (the default on a terminal)"},
    {"help", 'h', NULL, "print a help text"},
    {"version", 'V', NULL, "print the version"},
    {"node", 'n', "NODE", "send to HOST:PORT, or to: all, primaries, replicas, random, key:KEY, slot:N"},
    {"stdin", 'x', NULL, "read the last argument of the command from standard input"},
    {"watch", 'w', NULL, "repeat until Ctrl-C"},
    {"interval", 'i', "SECONDS", "how often to repeat (1); the pause between two rounds of rdc latency (0.01)"},
    {"count", 'c', "N", "end --watch after so many times"},
    {"duration", 'd', "SECONDS", "how long to measure (3)"},
    {"key", 'k', "KEY", "measure GET KEY, wherever it is sent, instead of PING at each node"},
    {"histogram", 'H', NULL, "print the distribution too"},
    {"threads", 't', "N", "threads that share one client (4)"},
    {"pipeline", 'P', "N", "commands that are sent together (1)"},
    {"reads", 'r', "PERCENT", "share of GET; the rest is SET (80)"},
    {"size", 's', "BYTES", "length of a value (64)"},
    {"keys", 'K', "N", "number of keys (10000)"},
    {"match", 'm', "PATTERN", "only keys that match"},
    {"type", 0, "TYPE", "only keys of this type: string, hash, list ..."},
    {"batch", 'b', "N", "keys that a server looks at in one call (1000)"},
    {NULL, 0, NULL, NULL},
};

const struct option *all_options(void) {
    return rows;
}

int misuse(const char *format, ...) {
    va_list args;
    fputs("rdc: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("; see rdc help\n", stderr);
    return MISUSED;
}

void settings_begin(struct settings *settings) {
    const char *url = getenv("RDC_URL");
    memset(settings, 0, sizeof *settings);
    settings->url = url != NULL && *url != '\0' ? url : "redis://127.0.0.1:6379";
    settings->duration_s = 3;
    settings->threads = 4;
    settings->pipeline = 1;
    settings->reads = 80;
    settings->size = 64;
    settings->keys = 10000;
    settings->batch = 1000;
}

void settings_free(struct settings *settings) {
    free(settings->options);
}

int is_json(const struct settings *settings) {
    return settings->form == FORM_JSON;
}

int is_typed(const struct settings *settings) {
    return settings->form == FORM_TYPED || (settings->form == FORM_AUTO && isatty(STDOUT_FILENO));
}

int is_option_of(const struct option *option, const char *also) {
    size_t len = strlen(option->name);
    const char *at = also;
    if (option - rows < GLOBAL)
        return 1;
    while (at != NULL && (at = strstr(at, option->name)) != NULL) {
        if ((at == also || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' '))
            return 1;
        at += len;
    }
    return 0;
}

/* A number within bounds.  Returns 0, or -1 after a message. */
static int read_number(double *number, const struct option *option, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        misuse("--%s needs a number from %g to %.0f, not '%s'", option->name, least, most, text);
        return -1;
    }
    *number = value;
    return 0;
}

/* As read_number(), for a number without fraction. */
static int read_whole(double *number, const struct option *option, const char *text, double least, double most) {
    if (read_number(number, option, text, least, most) != 0)
        return -1;
    if (*number == (double)(long long)*number)
        return 0;
    misuse("--%s needs a whole number, not '%s'", option->name, text);
    return -1;
}

static void add_option(struct settings *settings, const char *name_and_value) {
    size_t size = (settings->n_options + 1) * sizeof *settings->options;
    settings->options = resize(settings->options, size);
    settings->options[settings->n_options++] = name_and_value;
}

/* The options that are numbers. */
static int apply_number(struct settings *settings, const struct option *option, const char *value) {
    switch ((enum id)(option - rows)) {
    case INTERVAL:
        return read_number(&settings->interval_s, option, value, 0.001, 86400);
    case COUNT:
        settings->is_watching = 1;
        return read_whole(&settings->count, option, value, 1, 1e9);
    case DURATION:
        return read_number(&settings->duration_s, option, value, 0.01, 86400);
    case THREADS:
        return read_whole(&settings->threads, option, value, 1, 1024);
    case PIPELINE:
        return read_whole(&settings->pipeline, option, value, 1, 100000);
    case READS:
        return read_number(&settings->reads, option, value, 0, 100);
    case SIZE:
        return read_whole(&settings->size, option, value, 0, 512e6);
    case KEYS:
        return read_whole(&settings->keys, option, value, 1, 1e9);
    default:
        return read_whole(&settings->batch, option, value, 1, 1e6);
    }
}

static int apply(struct settings *settings, const struct option *option, const char *value) {
    switch ((enum id)(option - rows)) {
    case URL:
        settings->url = value;
        break;
    case OPTION:
        if (strchr(value, '=') == NULL || *value == '=') {
            misuse("--option needs NAME=VALUE");
            return -1;
        }
        add_option(settings, value);
        break;
    case READ_FROM:
        settings->read_from = value;
        break;
    case JSON:
        settings->form = FORM_JSON;
        break;
    case RAW:
        settings->form = FORM_RAW;
        break;
    case NO_RAW:
        settings->form = FORM_TYPED;
        break;
    case HELP:
        settings->wants_help = 1;
        break;
    case VERSION:
        settings->wants_version = 1;
        break;
    case NODE:
        settings->node = value;
        break;
    case LAST_ARGUMENT:
        settings->is_last_from_stdin = 1;
        break;
    case WATCH:
        settings->is_watching = 1;
        break;
    case KEY:
        settings->key = value;
        break;
    case HISTOGRAM:
        settings->wants_bars = 1;
        break;
    case MATCH:
        settings->match = value;
        break;
    case TYPE:
        settings->type = value;
        break;
    default:
        return apply_number(settings, option, value);
    }
    return 0;
}

/* The option that an argument names: --name, --name=value, -n or -nvalue.  `value` becomes what follows the name. */
static const struct option *find_option(const char *argument, const char *also, const char **value) {
    const struct option *option;
    const char *equals = strchr(argument, '=');
    size_t len = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    int is_long = argument[1] == '-';
    *value = is_long && equals != NULL ? equals + 1 : NULL;
    for (option = rows; option->name != NULL; option++) {
        int is_it = is_long ? strlen(option->name) == len - 2 && strncmp(option->name, argument + 2, len - 2) == 0
                            : option->letter != 0 && argument[1] == option->letter &&
                                  (argument[2] == '\0' || option->value != NULL);
        if (!is_it || !is_option_of(option, also))
            continue;
        if (!is_long && argument[2] != '\0')
            *value = argument + 2;
        return option;
    }
    return NULL;
}

int settings_read(struct settings *settings, const char *also, int argc, char **argv) {
    int i;
    for (i = 0; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        const struct option *option;
        const char *value;
        if (strcmp(argv[i], "--") == 0)
            return i + 1;
        option = find_option(argv[i], also, &value);
        if (option == NULL) {
            /* Not what follows the name, which may be a secret. */
            misuse("unknown option %.*s", argv[i][1] == '-' ? (int)strcspn(argv[i], "=") : 2, argv[i]);
            return -1;
        }
        if (option->value == NULL && value != NULL) {
            misuse("--%s has no value", option->name);
            return -1;
        }
        if (option->value != NULL && value == NULL && i + 1 < argc)
            value = argv[++i];
        if (option->value != NULL && value == NULL) {
            misuse("--%s needs %s", option->name, option->value);
            return -1;
        }
        if (apply(settings, option, value) != 0)
            return -1;
    }
    return i;
}
