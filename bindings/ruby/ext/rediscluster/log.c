/* The library's messages for Log.deliver: see log.rb.
 *
 * The library calls its logger in the thread whose call the message is about, which may or may not have Ruby's lock.
 * Interrupts that have come meanwhile are run before the lock is given back, as in the wait callback: see wait.c. */
#include "extension.h"

#include <ruby/thread.h>

/* These are exported, but declared in no header. */
extern int ruby_thread_has_gvl_p(void);
extern int ruby_native_thread_p(void);

static ID id_deliver;
static VALUE receiver = Qnil;

typedef struct {
    int32_t level;
    const char *text;
} message;

static VALUE deliver(VALUE data)
{
    const message *given = (const message *)data;
    return rb_funcall(receiver, id_deliver, 2, INT2NUM(given->level), rb_utf8_str_new_cstr(given->text));
}

static void *deliver_protected(void *data)
{
    VALUE before = rb_errinfo();
    int state;
    /* Log.deliver raises nothing; Ruby itself may, if there is no memory. */
    rb_protect(deliver, (VALUE)data, &state);
    rb_set_errinfo(before);
    return NULL;
}

static void *deliver_with_lock(void *data)
{
    deliver_protected(data);
    wait_run_interrupts();
    return NULL;
}

static void log_message(void *unused, int32_t level, const char *text)
{
    (void)unused;
    /* Another library may use this one in threads that Ruby does not know. A pipeline may be freed by the garbage
     * collector. */
    if (!ruby_native_thread_p() || rb_during_gc())
        return;
    message given = {level, text};
    if (ruby_thread_has_gvl_p())
        deliver_protected(&given);
    else
        rb_thread_call_with_gvl(deliver_with_lock, &given);
}

/* set_logger(receiver, level): calls receiver.deliver(level, message) for messages up to a level; 0 for none. */
static VALUE set_logger(VALUE extension, VALUE object, VALUE level)
{
    (void)extension;
    receiver = object;
    library.rdc_set_logger(NUM2INT(level) ? log_message : NULL, NULL, NUM2INT(level));
    return Qnil;
}

void log_init(VALUE extension)
{
    id_deliver = rb_intern("deliver");
    rb_gc_register_address(&receiver);
    rb_define_singleton_method(extension, "set_logger", set_logger, 2);
}
