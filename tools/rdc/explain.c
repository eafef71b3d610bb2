#include "client.h"
#include "command.h"
#include "json.h"
#include "typed.h"

#include <stdio.h>
#include <string.h>

/* The elements of a list in one line. */
static void add_list(struct text *out, const rdc_reply *list) {
    size_t i;
    for (i = 0; i < rdc_reply_len(list); i++) {
        const rdc_reply *item = rdc_reply_at(list, i);
        if (i > 0)
            text_add_char(out, ' ');
        if (rdc_reply_type(item) == RDC_INTEGER)
            text_format(out, "%lld", (long long)rdc_reply_int(item));
        else
            quoted_string(out, rdc_reply_str(item), rdc_reply_len(item));
    }
    if (rdc_reply_len(list) == 0)
        text_add_string(out, "none");
}

static void add_field(struct text *out, const rdc_reply *explanation, const char *name) {
    const rdc_reply *value = rdc_reply_find(explanation, name);
    if (value == NULL)
        return;
    text_format(out, "%-10s ", name);
    if (rdc_reply_type(value) == RDC_ARRAY)
        add_list(out, value);
    else if (rdc_reply_type(value) == RDC_INTEGER)
        text_format(out, "%lld", (long long)rdc_reply_int(value));
    else
        text_add(out, rdc_reply_str(value), rdc_reply_len(value));
    text_add_char(out, '\n');
}

static void add_nodes(struct text *out, const rdc_reply *explanation) {
    const rdc_reply *nodes = rdc_reply_find(explanation, "nodes"), *others = rdc_reply_find(explanation, "others");
    size_t i;
    for (i = 0; i < rdc_reply_len(nodes); i++)
        text_format(out, "%-10s %s\n", i == 0 ? "nodes" : "", rdc_reply_str(rdc_reply_at(nodes, i)));
    for (i = 0; i + 1 < rdc_reply_len(others); i += 2)
        text_format(out, "%-10s %s: %s\n", i == 0 ? "not asked" : "", rdc_reply_str(rdc_reply_at(others, i)),
                    rdc_reply_str(rdc_reply_at(others, i + 1)));
}

static void add_text(struct text *out, const rdc_reply *explanation) {
    const char *const before[] = {"command", "access", "keys", "slots", "read_from", "policy"};
    size_t i;
    for (i = 0; i < sizeof before / sizeof *before; i++)
        add_field(out, explanation, before[i]);
    if (rdc_reply_int(rdc_reply_find(explanation, "database")) != 0)
        add_field(out, explanation, "database");
    if (!rdc_reply_int(rdc_reply_find(explanation, "known")))
        text_format(out, "%-10s %s\n", "unknown", "not in the library's table: the first call asks a server about it");
    add_nodes(out, explanation);
    add_field(out, explanation, "error");
}

int run_explain(const struct settings *settings, int argc, char **argv) {
    struct text out = {NULL, 0, 0};
    rdc_client *client = client_open(settings);
    rdc_reply *explanation;
    int code;
    if (client == NULL)
        return MISUSED;
    code = client_connect(client);
    if (code == DONE) {
        explanation = rdc_explain(client, (size_t)argc, (const char *const *)argv, NULL);
        if (rdc_reply_error(explanation) != RDC_OK)
            code = client_failure(explanation);
        else if (is_json(settings))
            json_reply(&out, explanation);
        else
            add_text(&out, explanation);
        if (is_json(settings) && code == DONE)
            text_add_char(&out, '\n');
        text_print(&out);
        rdc_reply_free(explanation);
    }
    rdc_close(client);
    text_free(&out);
    return code;
}
