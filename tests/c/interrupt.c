/* rdc_interrupt() in a signal handler is async-signal-safe in every state of the handle: it neither allocates nor frees
 * memory, and keeps errno.  malloc() and free() of this program fail the test if a handler calls them.  RDC_URL is the
 * URL of a cluster. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* The allocator of glibc, below these functions of the program. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *pointer);

static pthread_t interrupted; /* the thread that gets the signals */
static volatile sig_atomic_t in_handler, allocations;

static void count_allocation(void) {
    if (in_handler && pthread_equal(pthread_self(), interrupted))
        allocations++;
}

void *malloc(size_t size) {
    count_allocation();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    count_allocation();
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    count_allocation();
    return __libc_realloc(old, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    count_allocation();
    *result = __libc_memalign(alignment, size);
    return *result ? 0 : ENOMEM;
}

void free(void *pointer) {
    count_allocation();
    __libc_free(pointer);
}

static rdc_client *base;
static rdc_client *volatile target;
static volatile sig_atomic_t handled, wrong_errno, stop;
static volatile unsigned long progress, closed;

static void on_signal(int number) {
    (void)number;
    in_handler = 1;
    errno = 4711;
    rdc_interrupt(target);
    wrong_errno |= errno != 4711;
    in_handler = 0;
    handled++;
}

static void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Holds the lock of malloc() most of the time. */
static void *allocate(void *arg) {
    void *blocks[64] = {0};
    unsigned long random = 1;
    while (!stop) {
        for (int i = 0; i < 64; i++) {
            random = random * 6364136223846793005UL + 1442695040888963407UL;
            free(blocks[i]);
            blocks[i] = malloc((random >> 33) % 5000 + 1);
        }
        progress++;
    }
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    return arg;
}

/* Opens and closes the handle that is interrupted. */
static void *close_target(void *arg) {
    while (!stop) {
        rdc_client *pinned = rdc_pin(base, "a", 1);
        target = pinned;
        for (volatile int i = 0; i < 200; i++) {
        }
        rdc_close(pinned);
        closed++;
    }
    return arg;
}

static void *send_signals(void *arg) {
    while (!stop) {
        pthread_kill(interrupted, SIGUSR1);
        for (volatile int i = 0; i < 300; i++) {
        }
    }
    return arg;
}

/* The thread with the handler must make progress all the time. */
static void race_with_close(void) {
    pthread_t others[2];
    stop = 0;
    pthread_create(&interrupted, NULL, allocate, NULL);
    pthread_create(&others[0], NULL, close_target, NULL);
    pthread_create(&others[1], NULL, send_signals, NULL);
    unsigned long last = 0;
    int hangs = 0;
    for (int i = 0; i < 20 && hangs < 10; i++) {
        pause_ms(100);
        hangs = progress == last ? hangs + 1 : 0;
        last = progress;
    }
    if (!check(hangs < 10, "the interrupted thread makes progress while the handle is closed"))
        _exit(1); /* it never ends */
    stop = 1;
    pthread_join(others[1], NULL);
    pthread_join(others[0], NULL);
    pthread_join(interrupted, NULL);
    check(handled > 100 && closed > 100, "handles are interrupted and closed at once");
}

static void *wait_for_element(void *handle) {
    return rdc_cmd(handle, "BLPOP", "interrupt:list", "0");
}

static void interrupt_in_state(rdc_client *handle, const char *state) {
    target = handle;
    handled = allocations = wrong_errno = 0;
    interrupted = pthread_self();
    raise(SIGUSR1);
    char name[128];
    snprintf(name, sizeof name, "no allocation, and errno is kept: %s", state);
    check(handled == 1 && allocations == 0 && !wrong_errno, name);
}

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGUSR1, &action, NULL);
    base = rdc_create(getenv("RDC_URL"));
    check(rdc_client_error(base) == NULL, "connected");

    rdc_client *handle = rdc_with(base, "timeout_ms", "2000");
    interrupt_in_state(NULL, "NULL");
    interrupt_in_state((rdc_client *)(size_t)12345, "an invalid handle");
    interrupt_in_state(handle, "an open handle");
    pthread_t waiting;
    pthread_create(&waiting, NULL, wait_for_element, handle);
    pause_ms(50);
    interrupt_in_state(handle, "a handle on which a thread waits");
    void *reply;
    pthread_join(waiting, &reply);
    check_error(reply, RDC_ERR_INTERRUPTED, "the waiting call ends");
    rdc_close(handle);
    interrupt_in_state(handle, "a closed handle");
    rdc_client *failed = rdc_create("redis://127.0.0.1:1?timeout_ms=100");
    interrupt_in_state(failed, "a handle that could not connect");
    rdc_close(failed);

    handled = allocations = wrong_errno = 0;
    race_with_close();
    check(allocations == 0 && !wrong_errno, "no allocation while the handle is closed");
    rdc_close(base);
    return check_done();
}
