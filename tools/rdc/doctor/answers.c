#include "answers.h"
#include "../memory.h"

#include <stdlib.h>
#include <string.h>

struct answers answers_ask(const struct nodes *nodes, const unsigned char *is_silent, const rdc_client *client,
                           size_t argc, const char *const *argv) {
    struct answers answers = {NULL, NULL, 0};
    size_t i;
    if (memchr(is_silent, 1, nodes->n) == NULL) {
        answers.all = rdc_command_to(client, "all", argc, argv, NULL);
        return answers;
    }
    /* Each call to a silent node would take its whole timeout. */
    answers.n = nodes->n;
    answers.each = allocate(nodes->n, sizeof *answers.each);
    for (i = 0; i < nodes->n; i++)
        if (!is_silent[i])
            answers.each[i] = rdc_command_to(client, nodes->items[i].address, argc, argv, NULL);
    return answers;
}

const rdc_reply *answer_of(const struct answers *answers, const struct nodes *nodes, const struct node *node) {
    if (node == NULL)
        return NULL;
    if (answers->each != NULL)
        return answers->each[node - nodes->items];
    return rdc_reply_error(answers->all) != RDC_OK ? answers->all : rdc_reply_find(answers->all, node->address);
}

void answers_free(struct answers *answers) {
    size_t i;
    for (i = 0; i < answers->n; i++)
        rdc_reply_free(answers->each[i]);
    free(answers->each);
    rdc_reply_free(answers->all);
}
