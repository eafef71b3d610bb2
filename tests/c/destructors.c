/* Calls work in destructors of thread-specific data and in atexit handlers, where the library's own thread variables may
 * be destroyed already.  RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <pthread.h>
#include <unistd.h>

static rdc_client *client;
static pthread_key_t key;
static int destructor_runs;

static int is_fine(rdc_reply *r) {
    if (rdc_reply_type(r) == RDC_ERROR)
        printf("   # %s\n", rdc_reply_str(r));
    return rdc_reply_free(r) == RDC_OK;
}

static int32_t go_on(void *arg) {
    (void)arg;
    return 1;
}

static void use_everything(const char *where) {
    int fine = is_fine(rdc_set(client, "destructors:k", RDC_NTS, "v", 1)) &
               is_fine(rdc_get(client, "destructors:k", RDC_NTS)) & is_fine(rdc_cmd(client, "PING")) &
               is_fine(rdc_cmd(client, "SCAN", "0")) & is_fine(rdc_cmd(client, "RANDOMKEY")) &
               is_fine(rdc_refresh(client)) & is_fine(rdc_stats(client)) & is_fine(rdc_topology(client));
    rdc_client *reader = rdc_readonly(client);
    fine &= is_fine(rdc_get(reader, "destructors:k", RDC_NTS));
    rdc_close(reader);
    rdc_client *pinned = rdc_pin(client, "destructors:k", RDC_NTS);
    fine &= is_fine(rdc_get(pinned, "destructors:k", RDC_NTS));
    rdc_close(pinned);
    rdc_client *another = rdc_create(getenv("RDC_URL"));
    fine &= is_fine(rdc_get(another, "destructors:k", RDC_NTS));
    rdc_close(another);
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    for (int i = 0; i < 10; i++)
        rdc_pipeline_get(pipeline, i % 2 ? "a" : "b", 1);
    fine &= is_fine(rdc_pipeline_execute(pipeline));
    rdc_pipeline_free(pipeline);
    rdc_set_wait_callback(go_on, NULL);
    fine &= is_fine(rdc_cmd(client, "BLPOP", "destructors:nothing", "0.06"));
    rdc_set_wait_callback(NULL, NULL);
    check(fine, where);
}

/* Runs twice, because it sets the value again. */
static void destructor(void *value) {
    use_everything("in a destructor of thread-specific data");
    if (++destructor_runs % 2)
        pthread_setspecific(key, value);
}

static void *use_in_thread_and_destructor(void *value) {
    pthread_setspecific(key, value);
    rdc_set_wait_callback(go_on, NULL);
    use_everything("in a thread");
    return NULL;
}

static void *use_in_destructor_only(void *value) {
    pthread_setspecific(key, value);
    return NULL;
}

static void run(void *(*thread)(void *)) {
    pthread_t id;
    pthread_create(&id, NULL, thread, &key);
    pthread_join(id, NULL);
}

static void at_exit(void) {
    use_everything("in an atexit handler");
    rdc_close(client);
    if (check_done())
        _exit(1);
}

int main(void) {
    atexit(at_exit);
    client = rdc_create(getenv("RDC_URL"));
    pthread_key_create(&key, destructor);
    rdc_set_wait_callback(go_on, NULL);
    use_everything("in the main thread");
    run(use_in_thread_and_destructor);
    run(use_in_destructor_only);
    check(destructor_runs == 4, "the destructors ran");
    return 0;
}
