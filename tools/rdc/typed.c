#include "typed.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void quoted_string(struct text *out, const char *bytes, size_t len) {
    static const char values[] = "\n\r\t\a\b\\\"", names[] = "nrtab\\\"";
    const char *value;
    size_t i;
    text_add_char(out, '"');
    for (i = 0; i < len; i++) {
        value = bytes[i] != '\0' ? strchr(values, bytes[i]) : NULL;
        if (value != NULL)
            text_format(out, "\\%c", names[value - values]);
        else if (isprint((unsigned char)bytes[i]))
            text_add_char(out, bytes[i]);
        else
            text_format(out, "\\x%02x", (unsigned char)bytes[i]);
    }
    text_add_char(out, '"');
}

static void add(struct text *out, const rdc_reply *reply, const struct text *prefix);

static const char *empty_form(int32_t type) {
    return type == RDC_MAP    ? "(empty hash)\n"
           : type == RDC_SET  ? "(empty set)\n"
           : type == RDC_PUSH ? "(empty push)\n"
                              : "(empty array)\n";
}

/* Each element begins with its number; elements of elements are indented below it. */
static void add_elements(struct text *out, const rdc_reply *reply, const struct text *prefix) {
    int32_t type = rdc_reply_type(reply);
    int is_map = type == RDC_MAP;
    char separator = is_map ? '#' : type == RDC_SET ? '~' : ')';
    size_t n = rdc_reply_len(reply), i, digits, number = 0;
    struct text inner = {NULL, 0, 0};
    char largest[32];
    if (n == 0) {
        text_add_string(out, empty_form(type));
        return;
    }
    digits = (size_t)snprintf(largest, sizeof largest, "%lu", (unsigned long)(is_map ? n / 2 : n));
    text_add(&inner, text_string(prefix), prefix->len);
    for (i = 0; i < digits + 2; i++)
        text_add_char(&inner, ' ');
    for (i = 0; i < n; i++) {
        if (i > 0)
            text_add(out, text_string(prefix), prefix->len);
        text_format(out, "%*lu%c ", (int)digits, (unsigned long)++number, separator);
        add(out, rdc_reply_at(reply, i), &inner);
        if (is_map) {
            out->len--; /* the line feed behind the key */
            text_add_string(out, " => ");
            add(out, rdc_reply_at(reply, ++i), &inner);
        }
    }
    text_free(&inner);
}

static void add(struct text *out, const rdc_reply *reply, const struct text *prefix) {
    switch (rdc_reply_type(reply)) {
    case RDC_NIL:
        text_add_string(out, "(nil)");
        break;
    case RDC_INTEGER:
        text_format(out, "(integer) %lld", (long long)rdc_reply_int(reply));
        break;
    case RDC_BOOL:
        text_add_string(out, rdc_reply_int(reply) ? "(true)" : "(false)");
        break;
    case RDC_DOUBLE:
        text_add_string(out, "(double) ");
        text_add(out, rdc_reply_str(reply), rdc_reply_len(reply));
        break;
    case RDC_ERROR:
        text_add_string(out, "(error) ");
        text_add(out, rdc_reply_str(reply), rdc_reply_len(reply));
        break;
    case RDC_STRING:
        quoted_string(out, rdc_reply_str(reply), rdc_reply_len(reply));
        break;
    case RDC_ARRAY:
    case RDC_SET:
    case RDC_PUSH:
    case RDC_MAP:
        add_elements(out, reply, prefix);
        return;
    default:
        text_add(out, rdc_reply_str(reply), rdc_reply_len(reply));
    }
    text_add_char(out, '\n');
}

void typed_reply(struct text *out, const rdc_reply *reply) {
    const struct text none = {NULL, 0, 0};
    add(out, reply, &none);
}

void raw_reply(struct text *out, const rdc_reply *reply) {
    int32_t type = rdc_reply_type(reply);
    size_t n = rdc_reply_len(reply), i;
    switch (type) {
    case RDC_NIL:
        break;
    case RDC_INTEGER:
        text_format(out, "%lld", (long long)rdc_reply_int(reply));
        break;
    case RDC_BOOL:
        text_add_string(out, rdc_reply_int(reply) ? "(true)" : "(false)");
        break;
    case RDC_ARRAY:
    case RDC_SET:
    case RDC_PUSH:
    case RDC_MAP:
        for (i = 0; i < n; i++) {
            if (i > 0)
                text_add_char(out, type == RDC_MAP && i % 2 == 1 ? ' ' : '\n');
            raw_reply(out, rdc_reply_at(reply, i));
        }
        break;
    default:
        text_add(out, rdc_reply_str(reply), rdc_reply_len(reply));
    }
}
