/* Calls that wait for a server, and the interrupts that end them: Ctrl-C, Timeout, Thread#raise,
 * Thread#kill and handlers of trap.
 *
 * Nothing may be raised during a call, because that would unwind stack frames of the library, and
 * nothing between the call and the release of its reply. The library calls the wait callback of the
 * thread while it waits. The callback looks for interrupts, which needs no lock. Only if there are some,
 * it takes Ruby's lock and runs them. What they raise is kept, ends the call, and is raised after it.
 *
 * Ruby runs interrupts once more where the callback gives the lock back, and nothing can catch an
 * exception there. So the callback gives it back when no interrupt is left: the moment in which another
 * one may come is shorter than a microsecond, and there is one only after an interrupt. A thread that is
 * alone keeps the lock, and has no such moment. */
#include "extension.h"

#include <ruby/thread.h>

typedef struct {
    void (*function)(void *);
    void *argument;
    VALUE thread;
    bool has_lock;
    bool is_done;
    /* Whether an interrupt is pending that Thread.handle_interrupt defers. It ends the call. */
    bool is_deferred;
    interruption found;
} waiting_call;

/* The call that this thread is in. Each Ruby thread that waits has a thread of the system. */
static __thread waiting_call *current;
static __thread bool is_installed;

static ID id_is_pending;

/* ---- The wait callback ------------------------------------------------------------------------ */

static bool is_pending(VALUE thread)
{
    return RTEST(rb_funcall(thread, id_is_pending, 0));
}

/* Runs due handlers of trap, and raises the exceptions of other threads. */
static VALUE run_interrupts(VALUE thread)
{
    /* For threads that a handler has started, if this thread has kept the lock. */
    if (!rb_thread_alone())
        rb_thread_schedule();
    rb_thread_check_ints();
    return is_pending(thread) ? Qtrue : Qfalse;
}

static VALUE keep_exception(VALUE call, VALUE exception)
{
    ((waiting_call *)call)->found.exception = exception;
    return Qfalse;
}

static VALUE run_rescued(VALUE data)
{
    waiting_call *call = (waiting_call *)data;
    return rb_rescue2(run_interrupts, call->thread, keep_exception, data, rb_eException, (VALUE)0);
}

static void run_protected(waiting_call *call)
{
    int state;
    if (rb_protect(run_rescued, (VALUE)call, &state) == Qtrue)
        call->is_deferred = true;
    if (state)
        call->found.state = state;
}

/* Of several exceptions, the last one is raised. */
static void *run_until_none_is_left(void *data)
{
    waiting_call *call = data;
    do
        run_protected(call);
    while (rb_thread_interrupted(call->thread));
    return NULL;
}

static bool is_over(const waiting_call *call)
{
    return call->is_deferred || call->found.exception || call->found.state;
}

/* end_call(exception): ends the call that this thread is in with an exception. False if it is in none. */
static VALUE end_call(VALUE extension, VALUE exception)
{
    (void)extension;
    if (!current)
        return Qfalse;
    current->found.exception = exception;
    return Qtrue;
}

void wait_run_interrupts(void)
{
    if (current && rb_thread_interrupted(current->thread))
        run_until_none_is_left(current);
}

static int32_t wait_callback(void *unused)
{
    waiting_call *call = current;
    (void)unused;
    if (!call)
        return 1;
    if (is_over(call))
        return 0;
    if (call->has_lock)
        run_protected(call);
    else if (rb_thread_interrupted(call->thread))
        rb_thread_call_with_gvl(run_until_none_is_left, call);
    return !is_over(call);
}

/* ---- The call --------------------------------------------------------------------------------- */

static void *run(void *data)
{
    waiting_call *call = data;
    waiting_call *outer = current;
    if (!is_installed) {
        library.rdc_set_wait_callback(wait_callback, NULL);
        is_installed = true;
    }
    current = call;
    call->function(call->argument);
    current = outer;
    call->is_done = true;
    return NULL;
}

interruption wait_without_lock(void (*function)(void *), void *argument)
{
    waiting_call call = {.function = function, .argument = argument, .thread = rb_thread_current()};
    /* A thread that is alone keeps the lock, which costs less. */
    call.has_lock = rb_thread_alone();
    while (!call.is_done) {
        rb_thread_check_ints();
        call.is_deferred = is_pending(call.thread);
        if (call.has_lock)
            run(&call);
        else /* does nothing if an interrupt is due */
            rb_thread_call_without_gvl2(run, &call, RUBY_UBF_IO, NULL);
    }
    RB_GC_GUARD(call.thread);
    return call.found;
}

void raise_interruption(interruption found)
{
    /* Of both, the jump: a thread that was killed must end. */
    if (found.state)
        rb_jump_tag(found.state);
    if (found.exception)
        rb_exc_raise(found.exception);
}

/* ---- Functions for Ruby code that masks interrupts -------------------------------------------- */

typedef struct {
    const void *handle;
    const char *text;
    size_t len;
    const char *const *argv;
    const size_t *lens;
    int32_t milliseconds;
    void *result;
} waiting_function;

/* Runs it and returns the address of the result. An exception is left to WaitCallback, which raises it when the result
 * belongs to an object. A throw of a handler only ends the call. */
static VALUE wait_masked(void (*function)(void *), waiting_function *call)
{
    interruption found = wait_without_lock(function, call);
    if (found.exception)
        rb_funcall(objects.wait_callback, rb_intern("raise_later"), 1, found.exception);
    if (found.state)
        rb_set_errinfo(Qnil);
    return ULL2NUM((uintptr_t)call->result);
}

static void create(void *data)
{
    waiting_function *call = data;
    call->result = library.rdc_create_with(call->handle);
}

static VALUE wait_create(VALUE module, VALUE options)
{
    (void)module;
    return wait_masked(create, &(waiting_function){.handle = address_of(options)});
}

static void refresh(void *data)
{
    waiting_function *call = data;
    call->result = library.rdc_refresh(call->handle);
}

static VALUE wait_refresh(VALUE module, VALUE client)
{
    (void)module;
    return wait_masked(refresh, &(waiting_function){.handle = address_of(client)});
}

static void command_resp(void *data)
{
    waiting_function *call = data;
    call->result = library.rdc_command_resp(call->handle, call->text, call->len);
}

/* A copy of a text, which nobody changes and the garbage collector does not move. `buffer` keeps it. */
static char *copy_of(VALUE text, VALUE *buffer)
{
    size_t size = (size_t)RSTRING_LEN(text) + 1;
    char *copy = rb_alloc_tmp_buffer(buffer, (long)size);
    return memcpy(copy, StringValuePtr(text), size);
}

static VALUE wait_command_resp(VALUE module, VALUE client, VALUE resp)
{
    (void)module;
    Check_Type(resp, T_STRING);
    VALUE buffer;
    waiting_function call = {.handle = address_of(client), .len = (size_t)RSTRING_LEN(resp)};
    call.text = copy_of(resp, &buffer);
    VALUE reply = wait_masked(command_resp, &call);
    rb_free_tmp_buffer(&buffer);
    return reply;
}

static void command_to(void *data)
{
    waiting_function *call = data;
    call->result = library.rdc_command_to(call->handle, call->text, call->len, call->argv, call->lens);
}

/* The arguments are the addresses of arrays of C, which nobody else uses. */
static VALUE wait_command_to(VALUE module, VALUE client, VALUE target, VALUE argc, VALUE argv, VALUE lens)
{
    (void)module;
    VALUE buffer = 0;
    waiting_function call = {
        .handle = address_of(client), .len = NUM2SIZET(argc), .argv = address_of(argv), .lens = address_of(lens)};
    if (!NIL_P(target)) {
        StringValueCStr(target); /* raises if it contains a NUL */
        call.text = copy_of(target, &buffer);
    }
    VALUE reply = wait_masked(command_to, &call);
    if (buffer)
        rb_free_tmp_buffer(&buffer);
    return reply;
}

static void next(void *data)
{
    waiting_function *call = data;
    call->result = library.rdc_subscriber_next((rdc_subscriber *)call->handle, call->milliseconds);
}

static VALUE wait_subscriber_next(VALUE module, VALUE subscriber, VALUE milliseconds)
{
    (void)module;
    return wait_masked(next, &(waiting_function){.handle = address_of(subscriber),
                                                 .milliseconds = NUM2INT(milliseconds)});
}

void wait_init(VALUE extension)
{
    id_is_pending = rb_intern("pending_interrupt?");
    rb_define_singleton_method(extension, "end_call", end_call, 1);
    rb_define_singleton_method(extension, "rdc_create_with", wait_create, 1);
    rb_define_singleton_method(extension, "rdc_refresh", wait_refresh, 1);
    rb_define_singleton_method(extension, "rdc_command_resp", wait_command_resp, 2);
    rb_define_singleton_method(extension, "rdc_command_to", wait_command_to, 5);
    rb_define_singleton_method(extension, "rdc_subscriber_next", wait_subscriber_next, 2);
}
