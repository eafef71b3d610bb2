#include "line.h"
#include "memory.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct cursor {
    const char *at, *end;
};

static int is_blank(const struct cursor *cursor) {
    return isspace((unsigned char)*cursor->at);
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The character behind a backslash in double quotes. */
static void add_escaped(struct text *out, struct cursor *cursor) {
    static const char names[] = "nrtba", values[] = "\n\r\t\b\a";
    const char *name = strchr(names, *cursor->at);
    if (*cursor->at == 'x' && cursor->end - cursor->at > 2 && hex_value(cursor->at[1]) >= 0 &&
        hex_value(cursor->at[2]) >= 0) {
        text_add_char(out, (char)(hex_value(cursor->at[1]) * 16 + hex_value(cursor->at[2])));
        cursor->at += 3;
        return;
    }
    text_add_char(out, name != NULL && *name != '\0' ? values[name - names] : *cursor->at);
    cursor->at++;
}

/* The text in quotes, up to the closing one. */
static int add_quoted(struct text *out, struct cursor *cursor, char quote) {
    for (cursor->at++; cursor->at < cursor->end; ) {
        if (*cursor->at == quote) {
            cursor->at++;
            return cursor->at == cursor->end || is_blank(cursor) ? 0 : -1;
        }
        if (*cursor->at == '\\' && cursor->end - cursor->at > 1) {
            if (quote == '"') {
                cursor->at++;
                add_escaped(out, cursor);
                continue;
            }
            cursor->at += cursor->at[1] == '\'';
        }
        text_add_char(out, *cursor->at++);
    }
    return -1;
}

static int add_argument(struct line *line, struct cursor *cursor) {
    size_t begin = line->bytes.len;
    while (cursor->at < cursor->end && !is_blank(cursor)) {
        if (*cursor->at != '"' && *cursor->at != '\'')
            text_add_char(&line->bytes, *cursor->at++);
        else if (add_quoted(&line->bytes, cursor, *cursor->at) != 0)
            return -1;
    }
    if (line->argc == line->size) {
        line->size = line->size * 2 + 8;
        line->args = resize(line->args, line->size * sizeof *line->args);
        line->lens = resize(line->lens, line->size * sizeof *line->lens);
    }
    line->lens[line->argc++] = line->bytes.len - begin;
    return 0;
}

int line_split(struct line *line, const char *text, size_t len) {
    struct cursor cursor;
    size_t i, at = 0;
    cursor.at = text;
    cursor.end = text + len;
    line->argc = line->bytes.len = 0;
    for (;;) {
        while (cursor.at < cursor.end && is_blank(&cursor))
            cursor.at++;
        if (cursor.at == cursor.end)
            break;
        if (add_argument(line, &cursor) != 0)
            return -1;
    }
    /* Only now, because the text moves while it grows. */
    for (i = 0; i < line->argc; at += line->lens[i++])
        line->args[i] = text_string(&line->bytes) + at;
    return 0;
}

void line_free(struct line *line) {
    text_free(&line->bytes);
    free(line->args);
    free(line->lens);
    memset(line, 0, sizeof *line);
}
