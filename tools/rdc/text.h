/* A text that grows. */
#ifndef RDC_TOOL_TEXT_H
#define RDC_TOOL_TEXT_H

#include <stddef.h>

/* Begins as {NULL, 0, 0}.  `bytes` has a NUL after `len` bytes once something was added. */
struct text {
    char *bytes;
    size_t len, size;
};

void text_add(struct text *text, const char *bytes, size_t len);
void text_add_string(struct text *text, const char *string);
void text_add_char(struct text *text, char c);
/* As printf(): not for values, which may contain NULs. */
void text_format(struct text *text, const char *format, ...);
/* Removes `n` bytes at the beginning. */
void text_drop(struct text *text, size_t n);
/* The content, or "" if nothing was added. */
const char *text_string(const struct text *text);
/* Writes the content to standard output and empties the text. */
void text_print(struct text *text);
void text_free(struct text *text);

#endif
