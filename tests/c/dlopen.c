/* Loaded by dlopen, as plugins and other languages do it; unloaded with handles open and threads in calls; loaded again.
 * dlclose leaves the library where it is: threads have things of it that are torn down when they end.  RDC_URL names a
 * cluster, and the library is found on the program's own search path. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <dlfcn.h>
#include <pthread.h>

enum { ROUNDS = 30, THREADS = 8 };

/* ISO C has no cast from the one to the other; POSIX asks for it to work all the same. */
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
static pthread_barrier_t begun;

/* Is in a call when the library is closed, and ends afterwards. */
static void *work(void *arg) {
    static const char *const wait[] = {"BLPOP", "dlopen:nothing", "0.05"};
    int *failed = arg;
    *failed = reply_free(get(reader, "dlopen:k", RDC_NTS)) != RDC_OK; /* has random numbers of its own */
    pthread_barrier_wait(&begun);
    *failed |= reply_free(command(client, 3, wait, NULL)) != RDC_OK;
    return NULL;
}

int main(void) {
    void *library = NULL, *first;
    int found = 0, kept = 0, failed = 0;
    check(!dlopen("librediscluster.so.0", RTLD_NOW | RTLD_NOLOAD), "the program is not linked with the library");
    pthread_barrier_init(&begun, NULL, THREADS + 1);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        int wrong[THREADS];
        if (!load(&library))
            break;
        found++;
        if (round % 3 == 0) { /* the others go on with a handle from before the library was closed */
            client = create(getenv("RDC_URL"));
            reader = readonly(client);
        }
        failed += client_error(client) != NULL;
        failed += reply_free(set(client, "dlopen:k", RDC_NTS, "v", 1)) != RDC_OK;
        for (int i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, work, &wrong[i]);
        pthread_barrier_wait(&begun);
        *(void **)&first = (void *)*(void **)&get;
        dlclose(library);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            failed += wrong[i];
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
    check(found == ROUNDS, "loaded, again and again");
    check(kept == ROUNDS, "and it stays where it was");
    check(failed == 0, "what was under way or open goes on");
    return check_done();
}
