#define _POSIX_C_SOURCE 200809L
#include "client.h"
#include "clock.h"
#include "command.h"
#include "interrupt.h"
#include "json.h"
#include "latencies.h"
#include "memory.h"
#include "nodes.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What all threads share. */
struct load {
    const struct settings *settings;
    rdc_client *client;
    const char *value;
    /* The keys expire by themselves if the program is killed. */
    int64_t ttl_ms, end;
};

/* One thread, and what it has measured. */
struct worker {
    struct load *load;
    pthread_t thread;
    uint64_t random;
    uint64_t reads, writes, errors;
    char error[512]; /* the first one */
    struct latencies latencies;
};

/* Keys of their own, in all slots. */
static int make_key(char *key, size_t size, uint64_t number) {
    return snprintf(key, size, "rdc:bench:%llu", (unsigned long long)number);
}

/* xorshift64: fast, and good enough to choose keys. */
static uint64_t next_random(struct worker *worker) {
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return worker->random;
}

static void count_error(struct worker *worker, const rdc_reply *reply) {
    int32_t error = rdc_reply_error(reply);
    if (error == RDC_OK || error == RDC_ERR_INTERRUPTED)
        return;
    if (worker->errors++ == 0)
        snprintf(worker->error, sizeof worker->error, "%s", rdc_reply_str(reply));
}

/* Chooses the next command and counts it.  Returns whether it is a GET. */
static int choose_command(struct worker *worker, char *key, size_t size, size_t *len) {
    const struct settings *settings = worker->load->settings;
    int is_read = (double)(next_random(worker) % 10000) < settings->reads * 100;
    *len = (size_t)make_key(key, size, next_random(worker) % (uint64_t)settings->keys);
    *(is_read ? &worker->reads : &worker->writes) += 1;
    return is_read;
}

static void add_command(struct worker *worker, rdc_pipeline *pipeline) {
    const struct load *load = worker->load;
    char key[48];
    size_t len;
    if (choose_command(worker, key, sizeof key, &len))
        rdc_pipeline_get(pipeline, key, len);
    else
        rdc_pipeline_set_px(pipeline, key, len, load->value, (size_t)load->settings->size, load->ttl_ms);
}

static rdc_reply *call_once(struct worker *worker) {
    const struct load *load = worker->load;
    char key[48];
    size_t len;
    if (choose_command(worker, key, sizeof key, &len))
        return rdc_get(load->client, key, len);
    return rdc_set_px(load->client, key, len, load->value, (size_t)load->settings->size, load->ttl_ms);
}

/* One call: a command, or a pipeline of them. */
static void measure_call(struct worker *worker, rdc_pipeline *pipeline) {
    size_t n = (size_t)worker->load->settings->pipeline, i;
    rdc_reply *reply;
    int64_t began;
    if (n > 1)
        for (i = 0; i < n; i++)
            add_command(worker, pipeline);
    began = monotonic_ns();
    reply = n > 1 ? rdc_pipeline_execute(pipeline) : call_once(worker);
    latencies_add(&worker->latencies, monotonic_ns() - began);
    count_error(worker, reply);
    if (n > 1)
        for (i = 0; i < rdc_reply_len(reply) && rdc_reply_type(reply) == RDC_ARRAY; i++)
            count_error(worker, rdc_reply_at(reply, i));
    rdc_reply_free(reply);
}

static void *run_worker(void *arg) {
    struct worker *worker = arg;
    rdc_pipeline *pipeline = rdc_pipeline_new(worker->load->client);
    while (monotonic_ns() < worker->load->end && !is_interrupted())
        measure_call(worker, pipeline);
    rdc_pipeline_free(pipeline);
    return NULL;
}

/* Sets all keys before the measurement (`value`), or removes them after it (NULL).  Returns an exit code. */
static int prepare_keys(const struct load *load, const char *value) {
    uint64_t n = (uint64_t)load->settings->keys, number, in_batch = 0;
    rdc_pipeline *pipeline = rdc_pipeline_new(load->client);
    int code = DONE;
    for (number = 0; number < n && code == DONE && !(value != NULL && is_interrupted()); number++) {
        char key[48];
        size_t len = (size_t)make_key(key, sizeof key, number), i;
        rdc_reply *replies;
        if (value != NULL)
            rdc_pipeline_set_px(pipeline, key, len, value, (size_t)load->settings->size, load->ttl_ms);
        else
            rdc_pipeline_del(pipeline, key, len);
        if (++in_batch < 1000 && number + 1 < n)
            continue;
        in_batch = 0;
        replies = rdc_pipeline_execute(pipeline);
        if (rdc_reply_error(replies) != RDC_OK)
            code = client_failure(replies);
        for (i = 0; code == DONE && i < rdc_reply_len(replies); i++)
            if (rdc_reply_error(rdc_reply_at(replies, i)) != RDC_OK)
                code = client_failure(rdc_reply_at(replies, i));
        rdc_reply_free(replies);
    }
    rdc_pipeline_free(pipeline);
    return value != NULL && is_interrupted() ? INTERRUPTED : code;
}

static void describe(struct text *out, const struct load *load) {
    const struct settings *settings = load->settings;
    struct nodes nodes;
    size_t i, replicas = 0;
    nodes_read(&nodes, load->client);
    for (i = 0; i < nodes.n; i++)
        replicas += (size_t)nodes.items[i].is_replica;
    text_format(out, "measured    %.0f threads with one client, %.0f commands a call, %g%% GET, the rest SET\n",
                settings->threads, settings->pipeline, settings->reads);
    text_format(out, "            %.0f keys, values of %.0f bytes, %lu shards, %lu replicas\n", settings->keys,
                settings->size, (unsigned long)nodes.shards, (unsigned long)replicas);
    nodes_free(&nodes);
}

static void print_text(const struct load *load, const struct worker *sum, double seconds) {
    static const struct {
        const char *name;
        double share;
    } rows[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};
    struct text out = {NULL, 0, 0};
    uint64_t n = sum->reads + sum->writes;
    size_t i;
    describe(&out, load);
    text_format(&out, "duration    %.2f s\n", seconds);
    text_format(&out, "commands    %llu (%llu GET, %llu SET), %.0f per second\n", (unsigned long long)n,
                (unsigned long long)sum->reads, (unsigned long long)sum->writes, (double)n / seconds);
    text_format(&out, "errors      %llu\n", (unsigned long long)sum->errors);
    text_format(&out, "call (ms)  ");
    for (i = 0; i < sizeof rows / sizeof *rows; i++)
        text_format(&out, " %s %.3f", rows[i].name, (double)latencies_quantile(&sum->latencies, rows[i].share) / 1e6);
    text_add_char(&out, '\n');
    text_print(&out);
    text_free(&out);
}

static void print_json(const struct settings *settings, const struct worker *sum, double seconds) {
    struct text out = {NULL, 0, 0};
    text_format(&out, "{\"threads\":%.0f,\"pipeline\":%.0f,\"reads_percent\":%g,\"value_bytes\":%.0f,\"keys\":%.0f",
                settings->threads, settings->pipeline, settings->reads, settings->size, settings->keys);
    text_format(&out, ",\"seconds\":%.3f,\"gets\":%llu,\"sets\":%llu,\"per_second\":%.1f,\"errors\":%llu,\"error\":",
                seconds, (unsigned long long)sum->reads, (unsigned long long)sum->writes,
                (double)(sum->reads + sum->writes) / seconds, (unsigned long long)sum->errors);
    json_c_string(&out, sum->errors > 0 ? sum->error : NULL);
    text_add_string(&out, ",\"call\":{");
    latencies_json(&out, &sum->latencies);
    text_add_string(&out, "}}\n");
    text_print(&out);
    text_free(&out);
}

/* Runs the threads, and adds up what they have measured.  Returns the seconds that it took. */
static double measure(struct load *load, struct worker *sum) {
    size_t n = (size_t)load->settings->threads, started = 0, i;
    struct worker *workers = allocate(n, sizeof *workers);
    int64_t began = monotonic_ns();
    load->end = began + (int64_t)(load->settings->duration_s * 1e9);
    for (; started < n; started++) {
        struct worker *worker = &workers[started];
        worker->load = load;
        worker->random = (uint64_t)calendar_ns() * 2 + 1 + started * 2654435769u;
        if (pthread_create(&worker->thread, NULL, run_worker, worker) != 0)
            break;
    }
    for (i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    for (i = 0; i < started; i++) {
        if (sum->errors == 0)
            memcpy(sum->error, workers[i].error, sizeof sum->error);
        sum->reads += workers[i].reads;
        sum->writes += workers[i].writes;
        sum->errors += workers[i].errors;
        latencies_merge(&sum->latencies, &workers[i].latencies);
    }
    free(workers);
    if (started < n)
        fprintf(stderr, "rdc: only %lu of %lu threads could be started\n", (unsigned long)started, (unsigned long)n);
    return (double)(monotonic_ns() - began) / 1e9;
}

static int run_load(struct load *load) {
    struct worker *sum = allocate(1, sizeof *sum);
    double seconds;
    int code = prepare_keys(load, load->value), removed;
    if (code == DONE) {
        seconds = measure(load, sum);
        if (is_json(load->settings))
            print_json(load->settings, sum, seconds);
        else
            print_text(load, sum, seconds);
        if (sum->errors > 0) {
            fflush(stdout);
            fprintf(stderr, "%s\n", sum->error);
            code = FAILED;
        }
    }
    removed = prepare_keys(load, NULL);
    free(sum);
    return code != DONE ? code : removed;
}

int run_bench(const struct settings *settings, int argc, char **argv) {
    struct load load;
    char *value = allocate((size_t)settings->size + 1, 1);
    int code;
    (void)argc;
    (void)argv;
    memset(value, 'x', (size_t)settings->size);
    load.settings = settings;
    load.value = value;
    load.ttl_ms = (int64_t)(settings->duration_s * 1000) + 60000;
    load.client = client_open(settings);
    code = load.client == NULL ? MISUSED : client_connect(load.client);
    if (code == DONE)
        code = run_load(&load);
    rdc_close(load.client);
    free(value);
    return code;
}
