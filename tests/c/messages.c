/* Publishers number their messages, and one subscriber checks that each channel's sequence is unbroken, or broken where
 * a gap says so, while the test (tests/faults/messages.rs) breaks the cluster.
 *
 * The test writes lines to the standard input; this program repeats each line when it has read it:
 *   fault NAME   something is about to happen that loses no message that a live node has accepted
 *   lossy NAME   nodes die or stop: what the cluster bus had accepted may be lost, which no subscriber can see
 *   calm         the cluster has recovered
 *   slow         the subscriber does not read for two seconds
 *   end          publish no more, and check
 * It prints "ready" when every channel has brought a message.
 *
 * RDC_URL is the URL of the cluster. */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { SHARDED = 48, CLASSIC = 12, MATCHED = 12, CHANNELS = SHARDED + CLASSIC + MATCHED };
enum { MAX_PHASES = 250, PUBLISHERS = 3, BATCH = 48, MAX_MESSAGES = 400000, SETTLE_MS = 10000, STALL_MS = 15000, LATE_GAP_MS = 1000 };

/* Atomic access, in C99. */
#define LOAD(place) __atomic_load_n(&(place), __ATOMIC_SEQ_CST)
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_SEQ_CST)

/* What is known of a message. */
enum outcome { UNPUBLISHED, PUBLISHED, UNCERTAIN };

struct channel {
    char name[40];
    unsigned char outcomes[MAX_MESSAGES];   /* atomic */
    unsigned char phase[MAX_MESSAGES];      /* the last line of the test when it was published */
    unsigned char is_received[MAX_MESSAGES];
    unsigned char is_excused[MAX_MESSAGES]; /* its loss was announced, or no subscriber can see it */
    unsigned short accepted_by[MAX_MESSAGES];   /* the port of the node that has accepted it */
    unsigned short received_from[MAX_MESSAGES]; /* the port of the node that has delivered it */
    unsigned short received_gaps[MAX_MESSAGES]; /* the gaps of the channel until then */
    long published;                         /* atomic: the last number that was published or tried */
    long newest;                            /* the newest number that was received */
    int has_gap;                            /* since the message before */
    unsigned short gaps;
    long published_at_gap;                  /* the last number when the latest gap was told */
    long hole_begin, hole_end;              /* the last hole without a gap, and when it was seen */
    int64_t hole_at;
    long doubled, reordered, silent, announced;
};

static struct channel channels[CHANNELS];
static rdc_client *client;
static rdc_subscriber *subscriber;
static int is_over, is_lossy, is_slow, has_input_ended, is_calm = 1; /* atomic */
static long messages_published; /* atomic */
static long messages, gaps, confirmations, errors, unexpected, empty_wakes, longest_empty_wakes;
static int phase_of_longest;
static char first_failure[400], last_error[300];
static char phases[MAX_PHASES][64];
static int phase; /* atomic */
static long failures[MAX_PHASES];

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static unsigned short port_of(const rdc_reply *reply) {
    const char *node = rdc_reply_node(reply), *colon = node ? strrchr(node, ':') : NULL;
    return (unsigned short)(colon ? atoi(colon + 1) : 0);
}

static int kind_of(int channel) {
    return channel < SHARDED ? 's' : channel < SHARDED + CLASSIC ? 'c' : 'p';
}

static void record_failure(const char *what, int channel, long number) {
    failures[channels[channel].phase[number]]++;
    if (!first_failure[0])
        snprintf(first_failure, sizeof first_failure, "%s: %s, number %ld", what, channels[channel].name, number);
}

/* ---- Publishing -------------------------------------------------------------------------------- */

/* Messages of one channel are published one after the other, by one thread: a pipeline has one of each channel. */
static void *publish(void *arg) {
    int thread = (int)(intptr_t)arg;
    rdc_pipeline *pipeline = rdc_pipeline_new(client);
    while (!LOAD(is_over)) {
        int used[CHANNELS], count = 0;
        for (int c = thread; c < CHANNELS && count < BATCH; c += PUBLISHERS) {
            char text[64];
            long number = LOAD(channels[c].published) + 1;
            if (number >= MAX_MESSAGES)
                continue;
            snprintf(text, sizeof text, "%d:%ld", c, number);
            const char *command = kind_of(c) == 's' ? "SPUBLISH" : "PUBLISH";
            rdc_pipeline_command(pipeline, 3, (const char *[]){command, channels[c].name, text}, NULL);
            channels[c].phase[number] = (unsigned char)LOAD(phase);
            STORE(channels[c].published, number);
            used[count++] = c;
        }
        if (count == 0)
            break;
        rdc_reply *replies = rdc_pipeline_execute(pipeline);
        for (int i = 0; i < count; i++) {
            struct channel *channel = &channels[used[i]];
            const rdc_reply *reply = rdc_reply_at(replies, (size_t)i);
            int is_certain = rdc_reply_type(reply) == RDC_INTEGER;
            channel->accepted_by[channel->published] = port_of(reply);
            /* A node that is about to die has accepted what it may not pass on to the subscriber's node. */
            is_certain &= kind_of(used[i]) == 's' || !LOAD(is_lossy);
            STORE(channel->outcomes[channel->published], is_certain ? PUBLISHED : UNCERTAIN);
            __atomic_add_fetch(&messages_published, is_certain, __ATOMIC_SEQ_CST);
        }
        rdc_reply_free(replies);
    }
    rdc_pipeline_free(pipeline);
    return NULL;
}

static void excuse(struct channel *channel, long begin, long end, int is_excused) {
    for (long number = begin; number < end; number++)
        channel->is_excused[number] |= is_excused != 0;
}

/* ---- Receiving --------------------------------------------------------------------------------- */

static void take_message(const rdc_reply *payload, const rdc_reply *name, unsigned short node) {
    int index = -1;
    long number = -1;
    const char *text = rdc_reply_str(payload);
    if (!text || sscanf(text, "%d:%ld", &index, &number) != 2 || index < 0 || index >= CHANNELS || number < 1 ||
        number >= MAX_MESSAGES || !same(rdc_reply_str(name), channels[index].name)) {
        unexpected++;
        return;
    }
    struct channel *channel = &channels[index];
    messages++;
    if (channel->is_received[number]) {
        /* The channel has moved to another node since then, which may get from the former one, at any time after the gap,
         * what that has delivered itself: for example when it was stopped before it passed the message on. */
        int is_excused = channel->received_from[number] != node && channel->received_gaps[number] != channel->gaps;
        if (!is_excused) {
            channel->doubled++;
            record_failure("received twice", index, number);
        }
        return;
    }
    channel->is_received[number] = 1;
    channel->received_from[number] = node;
    channel->received_gaps[number] = channel->gaps;
    if (number < channel->newest) {
        /* A message whose publisher knows nothing may arrive at any time.  When the node that takes the messages of a
         * classic channel changes, one may overtake another on the cluster bus.  So may one of a sharded channel that a
         * stopped primary has accepted when it continued, and passed on to its successor. */
        int is_ordered = kind_of(index) == 's' ? channel->accepted_by[number] == node
                                               : channel->phase[number] == LOAD(phase) && LOAD(is_calm);
        if (is_ordered && LOAD(channel->outcomes[number]) == PUBLISHED && !channel->is_excused[number]) {
            channel->reordered++;
            record_failure("received after a later one", index, number);
        }
        return;
    }
    /* Before the first message the channel may not have been subscribed. */
    excuse(channel, channel->newest + 1, number, channel->has_gap || channel->newest == 0);
    /* The message before may be older than the gap, and come after it: a node that was stopped passes it on when it
     * continues. The gap has announced the loss of what was published until then. */
    long announced = channel->published_at_gap + 1 < number ? channel->published_at_gap + 1 : number;
    excuse(channel, channel->newest + 1, announced, 1);
    if (number > channel->newest + 1 && !channel->has_gap) {
        channel->hole_begin = channel->newest + 1;
        channel->hole_end = number;
        channel->hole_at = now_ms();
    }
    channel->newest = number;
    /* A stopped node may publish a message when it goes on, long after its publisher gave up, and among later ones. */
    if (LOAD(channel->outcomes[number]) != UNCERTAIN)
        channel->has_gap = 0;
}

static void take_gap(const rdc_reply *push) {
    const char *kind = rdc_reply_str(rdc_reply_at(push, 1)), *name = rdc_reply_str(rdc_reply_at(push, 2));
    int is_known = 0;
    gaps++;
    for (int c = 0; c < CHANNELS; c++) {
        int is_pattern = kind_of(c) == 'p' && same(name, "matched:*");
        if (!is_pattern && !same(name, channels[c].name))
            continue;
        is_known = kind != NULL && rdc_reply_str(rdc_reply_at(push, 3)) != NULL;
        channels[c].has_gap = 1;
        channels[c].gaps++;
        channels[c].published_at_gap = LOAD(channels[c].published);
        /* A demoted node may pass on messages of its successor, after others that it did not get, until it ends the
         * subscription. */
        if (now_ms() - channels[c].hole_at < LATE_GAP_MS)
            excuse(&channels[c], channels[c].hole_begin, channels[c].hole_end, 1);
    }
    unexpected += !is_known;
}

static void take_push(const rdc_reply *push) {
    const char *type = rdc_reply_str(rdc_reply_at(push, 0));
    unsigned short node = port_of(push);
    if (same(type, "message") || same(type, "smessage"))
        take_message(rdc_reply_at(push, 2), rdc_reply_at(push, 1), node);
    else if (same(type, "pmessage"))
        take_message(rdc_reply_at(push, 3), rdc_reply_at(push, 2), node);
    else if (same(type, "gap"))
        take_gap(push);
    else if (type && strstr(type, "subscribe"))
        confirmations++;
    else
        unexpected++;
}

/* Takes what is there.  Returns whether there was anything. */
static int take_all(void) {
    int count = 0;
    for (;;) {
        rdc_reply *reply = rdc_subscriber_next(subscriber, 0);
        int32_t type = rdc_reply_type(reply);
        if (type == RDC_PUSH) {
            take_push(reply);
        } else if (type == RDC_ERROR) {
            errors++;
            snprintf(last_error, sizeof last_error, "%s", rdc_reply_str(reply));
        } else {
            unexpected += type != RDC_NIL;
        }
        rdc_reply_free(reply);
        if (type == RDC_NIL)
            return count;
        count++;
    }
}

/* Waits on the descriptor, and takes what is there.  A descriptor that stays readable while nothing can be taken would
 * make an event loop spin. */
static void wait_and_take(int timeout_ms) {
    static long in_a_row;
    struct pollfd readable = {rdc_subscriber_fd(subscriber), POLLIN, 0};
    if (poll(&readable, 1, timeout_ms) <= 0)
        return;
    int has_taken = take_all();
    empty_wakes += !has_taken;
    in_a_row = has_taken ? 0 : in_a_row + 1;
    if (in_a_row > longest_empty_wakes) {
        longest_empty_wakes = in_a_row;
        phase_of_longest = LOAD(phase);
    }
}

/* ---- The test ---------------------------------------------------------------------------------- */

static void *read_input(void *arg) {
    char line[200];
    (void)arg;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (phase + 1 < MAX_PHASES) {
            snprintf(phases[phase + 1], sizeof phases[phase + 1], "%.60s", line);
            STORE(phase, phase + 1);
        }
        STORE(is_calm, strcmp(line, "calm") == 0);
        if (strncmp(line, "lossy", 5) == 0)
            STORE(is_lossy, 1);
        else if (strcmp(line, "calm") == 0)
            STORE(is_lossy, 0);
        else if (strcmp(line, "slow") == 0)
            STORE(is_slow, 1);
        else if (strcmp(line, "end") == 0)
            STORE(is_over, 1);
        printf("   # %s: %ld messages published\n", line, LOAD(messages_published));
        fflush(stdout);
    }
    STORE(has_input_ended, 1);
    return NULL;
}

static void subscribe(const char *command, int first, int count, const char *pattern) {
    const char *argv[CHANNELS + 1] = {command, pattern};
    for (int i = 0; i < count; i++)
        argv[i + 1] = channels[first + i].name;
    rdc_reply *reply = rdc_subscriber_command(subscriber, pattern ? 2 : (size_t)count + 1, argv, NULL);
    if (rdc_reply_type(reply) == RDC_ERROR)
        printf("   # %s: %s\n", command, rdc_reply_str(reply));
    check(reply && rdc_reply_type(reply) != RDC_ERROR, command);
    rdc_reply_free(reply);
}

/* Whether the newest message that was certainly published has arrived on every channel. */
static int is_complete(void) {
    for (int c = 0; c < CHANNELS; c++) {
        long last = LOAD(channels[c].published);
        while (last > 0 && LOAD(channels[c].outcomes[last]) != PUBLISHED)
            last--;
        if (channels[c].newest < last)
            return 0;
    }
    return 1;
}

static void receive_until(int (*condition)(void), int64_t limit_ms) {
    int64_t end = now_ms() + limit_ms;
    while (!condition() && now_ms() < end && !LOAD(has_input_ended)) {
        if (__atomic_exchange_n(&is_slow, 0, __ATOMIC_SEQ_CST))
            sleep(2);
        wait_and_take(100);
    }
}

static int has_all(void) {
    for (int c = 0; c < CHANNELS; c++)
        if (!channels[c].newest)
            return 0;
    return 1;
}

static int has_ended(void) {
    return LOAD(is_over);
}

/* One more message on every channel, after the last fault: what was lost before it must have been announced. */
static void publish_last(void) {
    for (int c = 0; c < CHANNELS; c++) {
        char text[64];
        long number = ++channels[c].published;
        snprintf(text, sizeof text, "%d:%ld", c, number);
        const char *command = kind_of(c) == 's' ? "SPUBLISH" : "PUBLISH";
        rdc_reply *reply = rdc_command(client, 3, (const char *[]){command, channels[c].name, text}, NULL);
        if (rdc_reply_type(reply) == RDC_INTEGER)
            channels[c].outcomes[number] = PUBLISHED;
        rdc_reply_free(reply);
    }
}

static void count_losses(void) {
    for (int c = 0; c < CHANNELS; c++) {
        struct channel *channel = &channels[c];
        for (long number = 1; number <= channel->published; number++) {
            if (channel->outcomes[number] != PUBLISHED || channel->is_received[number])
                continue;
            if (channel->is_excused[number]) {
                channel->announced++;
                continue;
            }
            channel->silent++;
            record_failure("lost in silence", c, number);
        }
    }
}

static long sum(size_t offset, int kind) {
    long total = 0;
    for (int c = 0; c < CHANNELS; c++)
        if (kind_of(c) == kind)
            total += *(long *)((char *)&channels[c] + offset);
    return total;
}

#define SUM(field, kind) sum(offsetof(struct channel, field), kind)

int main(void) {
    pthread_t publishers[PUBLISHERS], input;
    rdc_client *created = rdc_create(getenv("RDC_URL"));
    rdc_client *short_timeout = rdc_with(created, "timeout_ms", "2000");
    /* Shorter than the node timeout: a node that was stopped has no successor before its connection is given up. */
    client = rdc_with(short_timeout, "subscriber_ping_ms", "700");
    rdc_close(short_timeout);
    if (rdc_client_error(client))
        return fprintf(stderr, "%s\n", rdc_client_error(client)), 1;
    for (int c = 0; c < CHANNELS; c++)
        snprintf(channels[c].name, sizeof channels[c].name, "%s:%d",
                 kind_of(c) == 's' ? "sharded" : kind_of(c) == 'c' ? "classic" : "matched", c);
    subscriber = rdc_subscriber_new(client);
    subscribe("SSUBSCRIBE", 0, SHARDED, NULL);
    subscribe("SUBSCRIBE", SHARDED, CLASSIC, NULL);
    subscribe("PSUBSCRIBE", 0, 0, "matched:*");
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_create(&publishers[i], NULL, publish, (void *)(intptr_t)i);
    receive_until(has_all, STALL_MS);
    check(has_all(), "every channel brings messages");
    printf("ready\n");
    fflush(stdout);
    pthread_create(&input, NULL, read_input, NULL);
    receive_until(has_ended, INT64_MAX / 2);
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i], NULL);
    publish_last();
    receive_until(is_complete, SETTLE_MS);
    check(is_complete(), "the last message of every channel arrives");
    count_losses();

    printf("   # %ld messages received, %ld published for certain, %ld gaps, %ld confirmations, %ld errors\n", messages,
           messages_published, gaps, confirmations, errors);
    for (const char *kind = "scp"; *kind; kind++)
        printf("   # %c: %ld lost and announced, %ld lost in silence, %ld doubled, %ld reordered\n", *kind,
               SUM(announced, *kind), SUM(silent, *kind), SUM(doubled, *kind), SUM(reordered, *kind));
    printf("   # %ld wakes without anything to take, at most %ld in a row, after line %d, '%s'\n", empty_wakes,
           longest_empty_wakes, phase_of_longest, phases[phase_of_longest]);
    if (first_failure[0])
        printf("   # %s\n", first_failure);
    for (int i = 0; i <= phase; i++)
        if (failures[i])
            printf("   # %ld of the failures: published after line %d, '%s'\n", failures[i], i, phases[i]);
    if (last_error[0])
        printf("   # the last error: %s\n", last_error);
    for (const char *kind = "scp"; *kind; kind++) {
        check(SUM(silent, *kind) == 0, "no message is lost in silence");
        check(SUM(doubled, *kind) == 0, "no message is received twice");
        check(SUM(reordered, *kind) == 0, "the messages of a channel are in order");
    }
    check(unexpected == 0, "nothing else is received");
    check(longest_empty_wakes < 1000, "the descriptor is readable only when there is something to do");
    rdc_subscriber_free(subscriber);
    rdc_close(client);
    rdc_close(created);
    return check_done();
}
