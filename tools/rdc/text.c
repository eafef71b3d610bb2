#include "text.h"
#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(struct text *text, size_t more) {
    if (text->len + more < text->size)
        return;
    text->size = (text->len + more + 1) * 2;
    text->bytes = resize(text->bytes, text->size);
}

void text_add(struct text *text, const char *bytes, size_t len) {
    reserve(text, len);
    if (len > 0)
        memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    text->bytes[text->len] = '\0';
}

void text_add_string(struct text *text, const char *string) {
    text_add(text, string, strlen(string));
}

void text_add_char(struct text *text, char c) {
    text_add(text, &c, 1);
}

void text_format(struct text *text, const char *format, ...) {
    va_list args, again;
    int len;
    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    if (len > 0) {
        reserve(text, (size_t)len);
        vsnprintf(text->bytes + text->len, (size_t)len + 1, format, again);
        text->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}

void text_drop(struct text *text, size_t n) {
    if (n == 0)
        return;
    memmove(text->bytes, text->bytes + n, text->len - n + 1);
    text->len -= n;
}

const char *text_string(const struct text *text) {
    return text->bytes != NULL ? text->bytes : "";
}

void text_print(struct text *text) {
    fwrite(text_string(text), 1, text->len, stdout);
    text->len = 0;
}

void text_free(struct text *text) {
    free(text->bytes);
    text->bytes = NULL;
    text->len = text->size = 0;
}
