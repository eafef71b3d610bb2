#include "output.h"
#include "client.h"
#include "json.h"
#include "typed.h"

int output_reply(const struct settings *settings, const rdc_reply *reply) {
    struct text out = {NULL, 0, 0};
    if (rdc_reply_error(reply) != RDC_OK)
        return client_failure(reply);
    if (is_json(settings)) {
        json_reply(&out, reply);
        text_add_char(&out, '\n');
    } else if (is_typed(settings)) {
        typed_reply(&out, reply);
    } else {
        raw_reply(&out, reply);
        text_add_char(&out, '\n');
    }
    text_print(&out);
    text_free(&out);
    return DONE;
}

int has_failed_node(const rdc_reply *replies) {
    size_t i, n = rdc_reply_len(replies);
    if (rdc_reply_type(replies) != RDC_MAP)
        return 0;
    for (i = 1; i < n; i += 2)
        if (rdc_reply_error(rdc_reply_at(replies, i)) != RDC_OK)
            return 1;
    return 0;
}
