#include "json.h"

#include <math.h>
#include <string.h>

/* The length of the UTF-8 character at `at`, or 0 if there is none. */
static size_t character_length(const unsigned char *at, size_t left) {
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
    size_t i;
    if (len > left)
        return 0;
    for (i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, and what is above U+10FFFF. */
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
        (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return len;
}

void json_string(struct text *out, const char *bytes, size_t len) {
    const unsigned char *at = (const unsigned char *)bytes;
    size_t i, n;
    text_add_char(out, '"');
    for (i = 0; i < len; i += n > 0 ? n : 1) {
        n = character_length(at + i, len - i);
        if (n == 0)
            text_add_string(out, "\\ufffd");
        else if (at[i] == '"' || at[i] == '\\')
            text_format(out, "\\%c", at[i]);
        else if (at[i] < 0x20 || at[i] == 0x7f)
            text_format(out, "\\u%04x", at[i]);
        else
            text_add(out, bytes + i, n);
    }
    text_add_char(out, '"');
}

void json_c_string(struct text *out, const char *string) {
    if (string == NULL)
        text_add_string(out, "null");
    else
        json_string(out, string, strlen(string));
}

static void text_of(struct text *out, const rdc_reply *reply) {
    json_string(out, rdc_reply_str(reply), rdc_reply_len(reply));
}

/* Keys of JSON are strings. */
static void key_of(struct text *out, const rdc_reply *reply) {
    struct text key = {NULL, 0, 0};
    if (rdc_reply_str(reply) != NULL) {
        text_of(out, reply);
        return;
    }
    json_reply(&key, reply);
    json_string(out, text_string(&key), key.len);
    text_free(&key);
}

static void elements_of(struct text *out, const rdc_reply *reply) {
    int is_map = rdc_reply_type(reply) == RDC_MAP;
    size_t n = rdc_reply_len(reply), i;
    text_add_char(out, is_map ? '{' : '[');
    for (i = 0; i < n; i++) {
        if (i > 0)
            text_add_char(out, ',');
        if (is_map) {
            key_of(out, rdc_reply_at(reply, i++));
            text_add_char(out, ':');
        }
        json_reply(out, rdc_reply_at(reply, i));
    }
    text_add_char(out, is_map ? '}' : ']');
}

void json_reply(struct text *out, const rdc_reply *reply) {
    switch (rdc_reply_type(reply)) {
    case RDC_NIL:
        text_add_string(out, "null");
        break;
    case RDC_INTEGER:
        text_format(out, "%lld", (long long)rdc_reply_int(reply));
        break;
    case RDC_BOOL:
        text_add_string(out, rdc_reply_int(reply) ? "true" : "false");
        break;
    case RDC_BIGNUM:
        text_add_string(out, rdc_reply_str(reply));
        break;
    case RDC_DOUBLE:
        /* JSON has no infinity. */
        if (isfinite(rdc_reply_double(reply)))
            text_add(out, rdc_reply_str(reply), rdc_reply_len(reply));
        else
            text_of(out, reply);
        break;
    case RDC_ERROR:
        text_add_string(out, "{\"error\":");
        text_of(out, reply);
        text_add_char(out, '}');
        break;
    case RDC_ARRAY:
    case RDC_SET:
    case RDC_PUSH:
    case RDC_MAP:
        elements_of(out, reply);
        break;
    default:
        text_of(out, reply);
    }
}
