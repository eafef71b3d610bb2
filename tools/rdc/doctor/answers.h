/* The replies of all nodes to one command. */
#ifndef RDC_TOOL_ANSWERS_H
#define RDC_TOOL_ANSWERS_H

#include "../nodes.h"

struct answers {
    /* One call to all nodes; or, if some are silent, one call to each of the others. */
    rdc_reply *all;
    rdc_reply **each;
    size_t n;
};

struct answers answers_ask(const struct nodes *nodes, const unsigned char *is_silent, const rdc_client *client,
                           size_t argc, const char *const *argv);
/* The reply of a node; NULL if it was not asked. */
const rdc_reply *answer_of(const struct answers *answers, const struct nodes *nodes, const struct node *node);
void answers_free(struct answers *answers);

#endif
