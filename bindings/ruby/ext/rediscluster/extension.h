/* The C extension of the gem rediscluster: what its files share.
 *
 * It makes the frequent calls of the gem cheap, and nothing else: the gem does the same with ffi where
 * the extension is missing. The library is loaded by native.rb, which passes the addresses of its
 * functions, so that both use the same library. */
#ifndef REDISCLUSTER_EXTENSION_H
#define REDISCLUSTER_EXTENSION_H

#include <rediscluster.h>
#include <ruby.h>
#include <stdbool.h>

/* The functions of the library that the extension calls. */
#define LIBRARY_FUNCTIONS(F)                                                                       \
    F(rdc_create_with)                                                                             \
    F(rdc_command)                                                                                 \
    F(rdc_command_resp)                                                                            \
    F(rdc_command_to)                                                                              \
    F(rdc_get)                                                                                     \
    F(rdc_set)                                                                                     \
    F(rdc_refresh)                                                                                 \
    F(rdc_pipeline_new)                                                                            \
    F(rdc_pipeline_command)                                                                        \
    F(rdc_pipeline_get)                                                                            \
    F(rdc_pipeline_set)                                                                            \
    F(rdc_pipeline_execute)                                                                        \
    F(rdc_pipeline_execute_atomic)                                                                 \
    F(rdc_pipeline_free)                                                                           \
    F(rdc_subscriber_next)                                                                         \
    F(rdc_reply_read)                                                                              \
    F(rdc_reply_read_array)                                                                        \
    F(rdc_reply_at)                                                                                \
    F(rdc_reply_double)                                                                            \
    F(rdc_reply_error)                                                                             \
    F(rdc_reply_node)                                                                              \
    F(rdc_reply_sent)                                                                              \
    F(rdc_reply_free)                                                                              \
    F(rdc_set_logger)                                                                              \
    F(rdc_set_wait_callback)

typedef struct {
#define MEMBER(name) __typeof__(name) *name;
    LIBRARY_FUNCTIONS(MEMBER)
#undef MEMBER
} library_functions;

extern library_functions library;

/* Objects of the gem, which setup() stores. */
typedef struct {
    VALUE error;         /* the class Error */
    VALUE wait_callback; /* the module WaitCallback */
    VALUE future;        /* the class Future */
} ruby_objects;

extern ruby_objects objects;

/* An address that Ruby code has as an Integer, or NULL for nil. */
static inline void *address_of(VALUE integer)
{
    return NIL_P(integer) ? NULL : (void *)(uintptr_t)NUM2ULL(integer);
}

/* ---- wait.c: calls that wait for a server ----------------------------------------------------- */

/* What has ended a call, or will: an exception of a handler of trap or of another thread, or the state
 * of another jump (throw, Thread#kill). Both are 0 if nothing has. */
typedef struct {
    VALUE exception;
    int state;
} interruption;

/* Calls the function, without Ruby's lock if other threads need it. Raises only before the call. The
 * arguments must be readable without the lock. */
interruption wait_without_lock(void (*function)(void *), void *argument);
/* Raises what has ended a call, if something has. What belongs to the call must be freed first. */
void raise_interruption(interruption found);
/* Runs the interrupts of a thread that is in a call and has Ruby's lock. What they raise ends the call. */
void wait_run_interrupts(void);
/* Functions that wait, for Ruby code that masks interrupts: see waiting.rb. */
void wait_init(VALUE extension);

/* ---- log.c: the library's messages ------------------------------------------------------------ */

void log_init(VALUE extension);

/* ---- arguments.c: Ruby objects as arguments of a command -------------------------------------- */

enum { INLINE_ARGUMENTS = 8, INLINE_BYTES = 512, NUMBER_TEXT = 24 };

/* A command as rdc_command() takes it. The objects of the arguments must outlive it. */
typedef struct {
    size_t argc;
    const char **argv;
    size_t *lens;
    const char *inline_argv[INLINE_ARGUMENTS];
    size_t inline_lens[INLINE_ARGUMENTS];
    char inline_bytes[INLINE_BYTES];
    /* What keeps the bytes alive, or 0: a flat array of the arguments, buffers, strings that are too
     * long to be copied. */
    VALUE flat, buffer, bytes, kept;
} arguments;

/* The name of a command that is sent before the arguments. */
typedef struct {
    const char *text;
    size_t len;
} command_name;

typedef enum {
    /* For a function that copies the arguments at once. Until then, no Ruby code may run. */
    BORROW_BYTES,
    /* For a call that waits: other threads may change the strings meanwhile. */
    COPY_BYTES
} bytes_mode;

/* Converts arguments, and options such as {ex: 5}, by the rules of Convert.encode. `name` and
 * `options` may be NULL and Qnil. Raises TypeError or ArgumentError. */
void arguments_set(arguments *self, const command_name *name, int argc, const VALUE *argv, VALUE options,
                   bytes_mode mode);

typedef enum { OTHER_COMMAND, GET_COMMAND, SET_COMMAND } command_kind;

/* Whether the command is GET with a key, or SET with a key and a value. */
command_kind arguments_kind(const arguments *self);
void arguments_init(void);

/* ---- reply.c: replies as Ruby objects --------------------------------------------------------- */

/* The value of a reply. An error of the library or of a server is an exception as a value. */
VALUE reply_value(const rdc_reply *reply);
/* The same; frees the reply, also if an exception is raised. */
VALUE reply_take(rdc_reply *reply);
/* The number of exceptions that have been made for errors. */
extern unsigned long reply_errors;
void reply_init(VALUE extension);

/* ---- commands.c: the methods of clients and pipelines ----------------------------------------- */

void commands_init(VALUE extension);

/* ---- pipeline.c: the commands of a pipeline --------------------------------------------------- */

/* Whether the object is a PipelineBuffer. */
bool is_pipeline(VALUE object);
/* Appends a command, whose reply `convert` converts unless it is nil. Returns its Future. */
VALUE pipeline_append(VALUE pipeline, const command_name *name, int argc, const VALUE *argv, VALUE options,
                      VALUE convert);
void pipeline_init(VALUE extension);

#endif
