#include "client.h"
#include "command.h"
#include "input.h"
#include "interrupt.h"
#include "line.h"
#include "memory.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The commands of one batch: those that one read(2) has brought. */
struct batch {
    const struct settings *settings;
    rdc_client *client;
    rdc_pipeline *pipeline;
    /* The number of the line that each command of the pipeline is in. */
    unsigned long *lines;
    size_t n, size;
    unsigned long line;
    struct line words;
    int code;
};

static void print_reply(struct batch *batch, const rdc_reply *reply, unsigned long line) {
    int code;
    if (rdc_reply_error(reply) != RDC_OK) {
        fflush(stdout);
        fprintf(stderr, "line %lu: ", line);
    }
    code = output_reply(batch->settings, reply);
    batch->code = code != DONE ? code : batch->code;
}

static void execute(struct batch *batch) {
    rdc_reply *replies;
    size_t i;
    if (batch->n == 0)
        return;
    replies = rdc_pipeline_execute(batch->pipeline);
    if (rdc_reply_error(replies) != RDC_OK)
        print_reply(batch, replies, batch->lines[0]);
    for (i = 0; i < rdc_reply_len(replies) && rdc_reply_type(replies) == RDC_ARRAY; i++)
        print_reply(batch, rdc_reply_at(replies, i), batch->lines[i]);
    batch->n = 0;
    rdc_reply_free(replies);
    fflush(stdout);
}

/* Commands for a chosen node are sent one by one. */
static void call_node(struct batch *batch) {
    rdc_reply *reply = client_command(batch->client, batch->settings, batch->words.argc, batch->words.args,
                                      batch->words.lens);
    print_reply(batch, reply, batch->line);
    if (has_failed_node(reply))
        batch->code = FAILED;
    rdc_reply_free(reply);
    fflush(stdout);
}

static void add_line(struct batch *batch, const char *text, size_t len) {
    batch->line++;
    if (line_split(&batch->words, text, len) != 0) {
        /* In order with the replies. */
        execute(batch);
        fflush(stdout);
        fprintf(stderr, "line %lu: quotes are not closed, or not followed by a blank\n", batch->line);
        batch->code = FAILED;
        return;
    }
    if (batch->words.argc == 0)
        return;
    if (batch->settings->node != NULL) {
        call_node(batch);
        return;
    }
    if (batch->n == batch->size) {
        batch->size = batch->size * 2 + 64;
        batch->lines = resize(batch->lines, batch->size * sizeof *batch->lines);
    }
    batch->lines[batch->n++] = batch->line;
    rdc_pipeline_command(batch->pipeline, batch->words.argc, batch->words.args, batch->words.lens);
}

/* Adds all complete lines, and the last one without a line feed if it `is_end`. */
static void add_lines(struct batch *batch, struct text *input, int is_end) {
    const char *begin = text_string(input), *at = begin, *end = begin + input->len, *feed;
    while ((feed = memchr(at, '\n', (size_t)(end - at))) != NULL && !is_interrupted()) {
        add_line(batch, at, (size_t)(feed - at));
        at = feed + 1;
    }
    if (is_end && at < end && !is_interrupted()) {
        add_line(batch, at, (size_t)(end - at));
        at = end;
    }
    text_drop(input, (size_t)(at - begin));
}

int run_stdin(const struct settings *settings) {
    struct text input = {NULL, 0, 0};
    struct batch batch;
    int more = 1;
    memset(&batch, 0, sizeof batch);
    batch.settings = settings;
    batch.client = client_open(settings);
    if (batch.client == NULL)
        return MISUSED;
    batch.pipeline = rdc_pipeline_new(batch.client);
    while (more > 0 && !is_interrupted()) {
        more = input_read(&input);
        add_lines(&batch, &input, more <= 0);
        execute(&batch);
    }
    if (more < 0)
        batch.code = FAILED;
    rdc_pipeline_free(batch.pipeline);
    rdc_close(batch.client);
    line_free(&batch.words);
    text_free(&input);
    free(batch.lines);
    return is_interrupted() ? INTERRUPTED : batch.code;
}
