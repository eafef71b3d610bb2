/* The methods of clients and pipelines that run commands. */
#include "extension.h"

#ifdef HAVE_RB_FIBER_SCHEDULER_CURRENT
#include <ruby/fiber/scheduler.h>
#endif

static ID id_address, id_run, id_run_encoded, id_call;

/* ---- The client ------------------------------------------------------------------------------- */

typedef struct {
    const rdc_client *client;
    const arguments *command;
    rdc_reply *reply;
} command_call;

static void run_command(void *data)
{
    command_call *call = data;
    const arguments *command = call->command;
    const char *const *argv = command->argv;
    const size_t *lens = command->lens;
    switch (arguments_kind(command)) {
    case GET_COMMAND:
        call->reply = library.rdc_get(call->client, argv[1], lens[1]);
        return;
    case SET_COMMAND:
        call->reply = library.rdc_set(call->client, argv[1], lens[1], argv[2], lens[2]);
        return;
    case OTHER_COMMAND:
        call->reply = library.rdc_command(call->client, command->argc, argv, lens);
    }
}

/* Whether the current fiber must not block its thread. */
static bool has_scheduler(void)
{
#ifdef HAVE_RB_FIBER_SCHEDULER_CURRENT
    return !NIL_P(rb_fiber_scheduler_current());
#else
    return false;
#endif
}

/* Calls run() or run_encoded() of the object, in Ruby. */
static VALUE call_run(VALUE self, ID method, const command_name *name, int argc, const VALUE *argv, VALUE options,
                      VALUE convert)
{
    VALUE args = rb_ary_new_capa(argc + 1);
    if (name)
        rb_ary_push(args, rb_utf8_str_new(name->text, (long)name->len));
    rb_ary_cat(args, argv, argc);
    return rb_funcall(self, method, 3, args, NIL_P(options) ? rb_hash_new() : options, convert);
}

static VALUE client_run(VALUE self, VALUE address, const command_name *name, int argc, const VALUE *argv,
                        VALUE options, VALUE convert)
{
    if (has_scheduler())
        return call_run(self, id_run_encoded, name, argc, argv, options, convert);
    arguments command;
    arguments_set(&command, name, argc, argv, options, COPY_BYTES);
    command_call call = {.client = address_of(address), .command = &command};
    interruption found = wait_without_lock(run_command, &call);
    if (found.exception || found.state) {
        library.rdc_reply_free(call.reply);
        raise_interruption(found);
    }
    unsigned long errors = reply_errors;
    VALUE value = reply_take(call.reply);
    if (errors != reply_errors && RTEST(rb_obj_is_kind_of(value, objects.error)))
        rb_exc_raise(value);
    /* The client, whose handle is closed with it. */
    RB_GC_GUARD(self);
    return NIL_P(convert) ? value : rb_funcallv(convert, id_call, 1, &value);
}

/* ---- Methods ---------------------------------------------------------------------------------- */

/* Runs a command, or appends it to a pipeline. */
static VALUE run_or_append(VALUE self, int argc, const VALUE *argv, VALUE options, VALUE convert)
{
    if (is_pipeline(self))
        return pipeline_append(self, NULL, argc, argv, options, convert);
    return client_run(self, rb_ivar_get(self, id_address), NULL, argc, argv, options, convert);
}

/* Takes the keyword arguments of a method from the end of its arguments. */
static VALUE take_options(int *argc, const VALUE *argv)
{
    return rb_keyword_given_p() ? argv[--*argc] : Qnil;
}

/* The conversion of a method without one: its block, as in redis-client. */
static VALUE or_block(VALUE convert)
{
    return NIL_P(convert) && rb_block_given_p() ? rb_block_proc() : convert;
}

/* run(args, options, convert), where args is an Array. */
static VALUE method_run(VALUE self, VALUE args, VALUE options, VALUE convert)
{
    Check_Type(args, T_ARRAY);
    /* Nobody else changes it then. */
    args = rb_ary_dup(args);
    VALUE result = run_or_append(self, (int)RARRAY_LEN(args), RARRAY_CONST_PTR(args), options, convert);
    RB_GC_GUARD(args);
    return result;
}

/* call(*args, **options) { |reply| result } */
static VALUE method_call(int argc, VALUE *argv, VALUE self)
{
    VALUE options = take_options(&argc, argv);
    return run_or_append(self, argc, argv, options, or_block(Qnil));
}

/* ---- The methods of the command table --------------------------------------------------------- */

typedef struct {
    command_name name;
    VALUE convert;
} table_command;

/* By the name of the method. */
static st_table *table;

static VALUE method_of_table(int argc, VALUE *argv, VALUE self)
{
    st_data_t found;
    ID method = rb_frame_this_func();
    if (!st_lookup(table, (st_data_t)method, &found))
        rb_raise(rb_eNoMethodError, "%" PRIsVALUE " is no command", rb_id2str(method));
    const table_command *command = (const table_command *)found;
    VALUE options = take_options(&argc, argv);
    VALUE convert = or_block(command->convert);
    if (is_pipeline(self))
        return pipeline_append(self, &command->name, argc, argv, options, convert);
    VALUE address = rb_ivar_get(self, id_address);
    /* Any class may include the module of these methods. */
    if (NIL_P(address))
        return call_run(self, id_run, &command->name, argc, argv, options, convert);
    return client_run(self, address, &command->name, argc, argv, options, convert);
}

/* define_command(module, method, name, convert): defines a method that runs the command `name`. */
static VALUE define_command(VALUE extension, VALUE module, VALUE method, VALUE name, VALUE convert)
{
    (void)extension;
    table_command *command = ALLOC(table_command);
    /* These are constants, which live as long as the process. */
    rb_gc_register_mark_object(name);
    rb_gc_register_mark_object(convert);
    *command = (table_command){{StringValueCStr(name), (size_t)RSTRING_LEN(name)}, convert};
    st_insert(table, (st_data_t)SYM2ID(method), (st_data_t)command);
    rb_define_method_id(module, SYM2ID(method), method_of_table, -1);
    return Qnil;
}

void commands_init(VALUE extension)
{
    id_address = rb_intern("@address");
    id_run = rb_intern("run");
    id_call = rb_intern("call");
    id_run_encoded = rb_intern("run_encoded");
    table = st_init_numtable();
    rb_define_singleton_method(extension, "define_command", define_command, 4);
    VALUE module = rb_define_module_under(extension, "Dispatch");
    rb_define_method(module, "call", method_call, -1);
    rb_define_private_method(module, "run", method_run, 3);
}
