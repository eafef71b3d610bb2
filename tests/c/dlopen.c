/* The library is loaded by dlopen, as by plugins and other languages, unloaded while handles are open and calls are in
 * progress, and loaded again.  dlclose must keep the library mapped, because threads have thread-local data whose
 * destructors are in the library.  RDC_URL is the URL of a cluster.  The library is found on the search path of the
 * program. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <dlfcn.h>
#include <pthread.h>

enum { ROUNDS = 30, THREADS = 8 };

/* ISO C has no cast from an object pointer to a function pointer; POSIX requires this form to work. */
#define FIND(library, name) (*(void **)&name = dlsym((library), "rdc_" #name))

static rdc_client *(*create)(const char *);
static rdc_client *(*readonly)(const rdc_client *);
static const char *(*client_error)(const rdc_client *);
static void (*close_client)(rdc_client *);
static rdc_reply *(*get)(const rdc_client *, const char *, size_t);
static rdc_reply *(*set)(const rdc_client *, const char *, size_t, const char *, size_t);
static rdc_reply *(*command)(const rdc_client *, size_t, const char *const *, const size_t *);
static int32_t (*reply_free)(rdc_reply *);

static int load(void **library) {
    *library = dlopen("librediscluster.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!*library) {
        printf("   # %s\n", dlerror());
        return 0;
    }
    FIND(*library, create), FIND(*library, readonly), FIND(*library, client_error), FIND(*library, get);
    FIND(*library, set), FIND(*library, command), FIND(*library, reply_free);
    *(void **)&close_client = dlsym(*library, "rdc_close");
    return create && readonly && client_error && get && set && command && reply_free && close_client;
}

static rdc_client *client, *reader;
static pthread_barrier_t started;

/* Is in a call during dlclose, and ends after it. */
static void *work(void *arg) {
    static const char *const wait[] = {"BLPOP", "dlopen:nothing", "0.05"};
    int *failed = arg;
    /* This read creates the thread-local random number generator. */
    *failed = reply_free(get(reader, "dlopen:k", RDC_NTS)) != RDC_OK;
    pthread_barrier_wait(&started);
    *failed |= reply_free(command(client, 3, wait, NULL)) != RDC_OK;
    return NULL;
}

int main(void) {
    void *library = NULL, *first;
    int loaded = 0, kept = 0, failed = 0;
    check(!dlopen("librediscluster.so.0", RTLD_NOW | RTLD_NOLOAD), "the program is not linked with the library");
    pthread_barrier_init(&started, NULL, THREADS + 1);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        int thread_failed[THREADS];
        if (!load(&library))
            break;
        loaded++;
        if (round % 3 == 0) { /* the other rounds use a handle from before the dlclose */
            client = create(getenv("RDC_URL"));
            reader = readonly(client);
        }
        failed += client_error(client) != NULL;
        failed += reply_free(set(client, "dlopen:k", RDC_NTS, "v", 1)) != RDC_OK;
        for (int i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, work, &thread_failed[i]);
        pthread_barrier_wait(&started);
        *(void **)&first = (void *)*(void **)&get;
        dlclose(library);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            failed += thread_failed[i];
        }
        void *again = dlopen("librediscluster.so.0", RTLD_NOW | RTLD_NOLOAD);
        kept += again && dlsym(again, "rdc_get") == first;
        if (again)
            dlclose(again);
        if (round % 3 == 2) {
            close_client(reader);
            close_client(client);
        }
    }
    check(loaded == ROUNDS, "the library is loaded in each round");
    check(kept == ROUNDS, "the library stays mapped at the same address");
    check(failed == 0, "calls in progress and open handles keep working");
    return check_done();
}
