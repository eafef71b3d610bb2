#include "client.h"
#include "command.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

static const char modes[] = "primary any replica nearest zone";
/* Options of commands that are sent to the cluster: they stand in front of them. */
static const char before_any[] = "node stdin";

/* "--url --option ..." of all commands, or of one. */
static void add_options(struct text *out, const char *also) {
    const struct option *option;
    for (option = all_options(); option->name != NULL; option++)
        if (is_option_of(option, also))
            text_format(out, "--%s ", option->name);
}

static void add_commands(struct text *out) {
    const struct command *command;
    for (command = all_commands(); command->name != NULL; command++)
        text_format(out, "%s ", command->name);
}

/* "timeout_ms= ...": the options of the library. */
static void add_library_options(struct text *out) {
    rdc_reply *options = rdc_options_list();
    size_t i;
    for (i = 0; i < rdc_reply_len(options); i++)
        text_format(out, "%s= ", rdc_reply_str(rdc_reply_find(rdc_reply_at(options, i), "name")));
    rdc_reply_free(options);
}

/* The first word that is a command decides which options follow; server commands have none. */
static void add_bash(struct text *out) {
    const struct command *command;
    text_add_string(out, "_rdc() {\n    local current=${COMP_WORDS[COMP_CWORD]} word words=\n"
                         "    local previous=${COMP_WORDS[COMP_CWORD-1]}\n"
                         "    case $previous in\n"
                         "    --read-from) words=\"");
    text_add_string(out, modes);
    text_add_string(out, "\" ;;\n    -o|--option) words=\"");
    add_library_options(out);
    text_add_string(out, "\"; compopt -o nospace 2>/dev/null ;;\n    completion) words=\"bash zsh fish\" ;;\n"
                         "    help) words=\"");
    add_commands(out);
    text_add_string(out, "\" ;;\n    *)\n        words=\"");
    add_options(out, before_any);
    add_commands(out);
    text_add_string(out, "\"\n        for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
                         "            case $word in\n");
    for (command = all_commands(); command->name != NULL; command++) {
        text_format(out, "            %s) words=\"", command->name);
        add_options(out, command->options);
        text_add_string(out, "\"; break ;;\n");
    }
    text_add_string(out, "            esac\n        done ;;\n    esac\n"
                         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}\n"
                         "complete -o default -F _rdc rdc\n");
}

/* A description in single quotes, without what zsh's _arguments would interpret. */
static void add_description(struct text *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '[' || *text == ']' || *text == ':')
            text_add_char(out, '\\');
        text_add_string(out, *text == '\'' ? "'\\''" : (const char[]){*text, '\0'});
    }
}

static void add_zsh_options(struct text *out, const char *also, const char *indent) {
    const struct option *option;
    for (option = all_options(); option->name != NULL; option++) {
        if (!is_option_of(option, also))
            continue;
        text_format(out, "%s'--%s%s[", indent, option->name, option->value != NULL ? "=" : "");
        add_description(out, option->help);
        text_add_char(out, ']');
        if (option->value != NULL)
            text_format(out, ":%s:%s%s%s", option->value, strcmp(option->name, "read-from") == 0 ? "(" : "",
                        strcmp(option->name, "read-from") == 0 ? modes : "",
                        strcmp(option->name, "read-from") == 0 ? ")" : "");
        text_add_string(out, "' \\\n");
    }
}

static void add_zsh(struct text *out) {
    const struct command *command;
    text_add_string(out, "#compdef rdc\n_rdc() {\n    local state line\n    _arguments -C \\\n");
    add_zsh_options(out, before_any, "        ");
    text_add_string(out, "        '1:command:->command' '*::argument:->argument'\n    case $state in\n    command)\n"
                         "        local -a commands=(\n");
    for (command = all_commands(); command->name != NULL; command++) {
        text_format(out, "            '%s:", command->name);
        add_description(out, command->summary);
        text_add_string(out, "'\n");
    }
    text_add_string(out, "        )\n        _describe command commands ;;\n    argument)\n        case $line[1] in\n"
                         "        completion) _values shell bash zsh fish ;;\n");
    for (command = all_commands(); command->name != NULL; command++) {
        if (*command->options == '\0')
            continue;
        text_format(out, "        %s) _arguments \\\n", command->name);
        add_zsh_options(out, command->options, "            ");
        text_add_string(out, "            ;;\n");
    }
    text_add_string(out, "        esac ;;\n    esac\n}\n"
                         "if [ \"$funcstack[1]\" = _rdc ]; then _rdc \"$@\"; else compdef _rdc rdc; fi\n");
}

static void add_fish_option(struct text *out, const struct option *option, const char *condition) {
    text_format(out, "complete -c rdc%s -l %s", condition, option->name);
    if (option->letter != 0)
        text_format(out, " -s %c", option->letter);
    if (strcmp(option->name, "read-from") == 0)
        text_format(out, " -x -a '%s'", modes);
    else if (strcmp(option->name, "option") == 0) {
        text_add_string(out, " -x -a '");
        add_library_options(out);
        text_add_char(out, '\'');
    } else if (option->value != NULL)
        text_add_string(out, " -x");
    text_format(out, " -d '%s'\n", option->help);
}

static void add_fish(struct text *out) {
    const struct command *command;
    const struct option *option;
    text_add_string(out, "complete -c rdc -f\n");
    for (option = all_options(); option->name != NULL; option++)
        if (is_option_of(option, before_any))
            add_fish_option(out, option, "");
    for (command = all_commands(); command->name != NULL; command++) {
        char condition[96];
        text_format(out, "complete -c rdc -n __fish_use_subcommand -a %s -d '%s'\n", command->name, command->summary);
        snprintf(condition, sizeof condition, " -n '__fish_seen_subcommand_from %s'", command->name);
        for (option = all_options(); option->name != NULL; option++)
            if (is_option_of(option, command->options) && !is_option_of(option, before_any))
                add_fish_option(out, option, condition);
    }
    text_add_string(out, "complete -c rdc -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n");
}

int run_completion(const struct settings *settings, int argc, char **argv) {
    struct text out = {NULL, 0, 0};
    (void)settings;
    (void)argc;
    if (strcmp(argv[0], "bash") == 0)
        add_bash(&out);
    else if (strcmp(argv[0], "zsh") == 0)
        add_zsh(&out);
    else if (strcmp(argv[0], "fish") == 0)
        add_fish(&out);
    else
        return misuse("rdc completion knows bash, zsh and fish, not '%s'", argv[0]);
    text_print(&out);
    text_free(&out);
    return DONE;
}
