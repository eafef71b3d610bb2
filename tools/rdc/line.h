/* A line of a command file as arguments. */
#ifndef RDC_TOOL_LINE_H
#define RDC_TOOL_LINE_H

#include "text.h"

struct line {
    /* All arguments, one after another. */
    struct text bytes;
    const char **args;
    size_t *lens;
    size_t argc, size;
};

/* Splits a line as redis-cli does: words, "double quotes" with \n \r \t \b \a \\ \" \xHH, and 'single quotes' with \'.
   Returns 0, or -1 if a quote is not closed or a closing quote is not followed by a blank. */
int line_split(struct line *line, const char *text, size_t len);
void line_free(struct line *line);

#endif
