/* PipelineBuffer: the commands of a pipeline, in the library's pipeline, and how their replies are
 * converted. See pipeline_buffer.rb, which does the same in Ruby. */
#include "extension.h"

/* What Futures refer to. They are allocated together, because there is one for each command. */
enum { FUTURES_AT_ONCE = 64 };

typedef struct {
    VALUE pipeline;
    size_t index;
} future;

typedef struct future_block {
    struct future_block *next;
    future futures[FUTURES_AT_ONCE];
} future_block;

typedef struct {
    /* NULL after the execution. */
    rdc_pipeline *pipeline;
    size_t length;
    /* The last block is the first of the list. */
    future_block *futures;
    /* An Array with the conversion of each command, or nil if no command has one. */
    VALUE conversions;
    bool has_errors;
} pipeline_buffer;

static void buffer_mark(void *data)
{
    rb_gc_mark_movable(((pipeline_buffer *)data)->conversions);
}

static void buffer_compact(void *data)
{
    pipeline_buffer *buffer = data;
    buffer->conversions = rb_gc_location(buffer->conversions);
}

static void buffer_free(void *data)
{
    pipeline_buffer *buffer = data;
    library.rdc_pipeline_free(buffer->pipeline);
    while (buffer->futures) {
        future_block *block = buffer->futures;
        buffer->futures = block->next;
        xfree(block);
    }
    xfree(buffer);
}

static size_t buffer_size(const void *data)
{
    size_t blocks = (((const pipeline_buffer *)data)->length + FUTURES_AT_ONCE - 1) / FUTURES_AT_ONCE;
    return sizeof(pipeline_buffer) + blocks * sizeof(future_block);
}

static const rb_data_type_t buffer_type = {
    .wrap_struct_name = "RedisCluster::PipelineBuffer",
    .function = {buffer_mark, buffer_free, buffer_size, buffer_compact, {0}},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY | RUBY_TYPED_WB_PROTECTED,
};

static VALUE buffer_allocate(VALUE class)
{
    pipeline_buffer *buffer;
    VALUE object = TypedData_Make_Struct(class, pipeline_buffer, &buffer_type, buffer);
    buffer->conversions = Qnil;
    return object;
}

static pipeline_buffer *buffer_of(VALUE self)
{
    pipeline_buffer *buffer;
    TypedData_Get_Struct(self, pipeline_buffer, &buffer_type, buffer);
    return buffer;
}

bool is_pipeline(VALUE object)
{
    return RB_TYPE_P(object, T_DATA) && rb_typeddata_is_kind_of(object, &buffer_type);
}

/* initialize(address): the address of a client. */
static VALUE buffer_initialize(VALUE self, VALUE address)
{
    pipeline_buffer *buffer = buffer_of(self);
    if (buffer->pipeline)
        rb_raise(rb_eArgError, "a pipeline is initialized once");
    buffer->pipeline = library.rdc_pipeline_new(address_of(address));
    return self;
}

/* ---- Futures ---------------------------------------------------------------------------------- */

/* A Future keeps its pipeline alive, and with it its memory. */
static void future_mark(void *data)
{
    if (data)
        rb_gc_mark(((future *)data)->pipeline);
}

static const rb_data_type_t future_type = {
    .wrap_struct_name = "RedisCluster::Future",
    .function = {future_mark, NULL, NULL, NULL, {0}},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY | RUBY_TYPED_WB_PROTECTED,
};

/* A Future of the command that is appended next. */
static VALUE future_new(VALUE self, pipeline_buffer *buffer)
{
    size_t free = buffer->length % FUTURES_AT_ONCE;
    if (free == 0) {
        future_block *block = ALLOC(future_block);
        block->next = buffer->futures;
        buffer->futures = block;
    }
    future *found = &buffer->futures->futures[free];
    *found = (future){self, buffer->length};
    return TypedData_Wrap_Struct(objects.future, &future_type, found);
}

static const future *future_of(VALUE self)
{
    return rb_check_typeddata(self, &future_type);
}

static VALUE future_pipeline(VALUE self)
{
    return future_of(self)->pipeline;
}

static VALUE future_index(VALUE self)
{
    return SIZET2NUM(future_of(self)->index);
}

/* ---- Appending -------------------------------------------------------------------------------- */

static void remember(VALUE self, pipeline_buffer *buffer, VALUE convert)
{
    if (NIL_P(buffer->conversions) && !NIL_P(convert)) {
        VALUE conversions = rb_ary_new();
        if (buffer->length)
            rb_ary_store(conversions, (long)buffer->length - 1, Qnil);
        RB_OBJ_WRITE(self, &buffer->conversions, conversions);
    }
    if (!NIL_P(buffer->conversions))
        rb_ary_push(buffer->conversions, convert);
    buffer->length++;
}

VALUE pipeline_append(VALUE self, const command_name *name, int argc, const VALUE *argv, VALUE options, VALUE convert)
{
    pipeline_buffer *buffer = buffer_of(self);
    arguments command;
    arguments_set(&command, name, argc, argv, options, BORROW_BYTES);
    rdc_pipeline *pipeline = buffer->pipeline;
    if (!pipeline) {
        rb_funcall(self, rb_intern("refuse"), 0);
        return Qnil;
    }
    const char *const *args = command.argv;
    const size_t *lens = command.lens;
    switch (arguments_kind(&command)) {
    case GET_COMMAND:
        library.rdc_pipeline_get(pipeline, args[1], lens[1]);
        break;
    case SET_COMMAND:
        library.rdc_pipeline_set(pipeline, args[1], lens[1], args[2], lens[2]);
        break;
    case OTHER_COMMAND:
        library.rdc_pipeline_command(pipeline, command.argc, args, lens);
    }
    RB_GC_GUARD(command.flat);
    VALUE result = future_new(self, buffer);
    remember(self, buffer, convert);
    return result;
}

/* The number of commands. */
static VALUE buffer_length(VALUE self)
{
    return SIZET2NUM(buffer_of(self)->length);
}

/* ---- Executing -------------------------------------------------------------------------------- */

typedef struct {
    rdc_pipeline *pipeline;
    bool is_atomic;
    rdc_reply *reply;
} pipeline_call;

static void execute(void *data)
{
    pipeline_call *call = data;
    call->reply = call->is_atomic ? library.rdc_pipeline_execute_atomic(call->pipeline)
                                  : library.rdc_pipeline_execute(call->pipeline);
}

static VALUE execute_pipeline(VALUE data)
{
    pipeline_call *call = (pipeline_call *)data;
    interruption found = wait_without_lock(execute, call);
    if (found.exception || found.state) {
        library.rdc_reply_free(call->reply);
        raise_interruption(found);
    }
    return reply_take(call->reply);
}

static VALUE free_pipeline(VALUE data)
{
    library.rdc_pipeline_free(((pipeline_call *)data)->pipeline);
    return Qnil;
}

/* Executes the commands: the replies, or the error of all. */
static VALUE buffer_execute(VALUE self, VALUE atomic)
{
    pipeline_buffer *buffer = buffer_of(self);
    pipeline_call call = {.pipeline = buffer->pipeline, .is_atomic = RTEST(atomic)};
    /* Other threads run meanwhile, and must not find it. */
    buffer->pipeline = NULL;
    unsigned long errors = reply_errors;
    VALUE values = rb_ensure(execute_pipeline, (VALUE)&call, free_pipeline, (VALUE)&call);
    buffer->has_errors = errors != reply_errors;
    return values;
}

/* The address of the pipeline, which the caller executes and frees. */
static VALUE buffer_take(VALUE self)
{
    pipeline_buffer *buffer = buffer_of(self);
    VALUE address = ULL2NUM((uintptr_t)buffer->pipeline);
    buffer->pipeline = NULL;
    /* This is not known, because the replies are read elsewhere. */
    buffer->has_errors = true;
    return address;
}

/* The conversion of each command, or nil if no command has one. */
static VALUE buffer_conversions(VALUE self)
{
    return buffer_of(self)->conversions;
}

/* Whether the replies are the results: there are no errors, and nothing is to be converted. */
static VALUE buffer_is_plain(VALUE self)
{
    pipeline_buffer *buffer = buffer_of(self);
    return !buffer->has_errors && NIL_P(buffer->conversions) ? Qtrue : Qfalse;
}

void pipeline_init(VALUE extension)
{
    VALUE class = rb_define_class_under(extension, "PipelineBuffer", rb_cObject);
    rb_define_alloc_func(class, buffer_allocate);
    rb_undef_method(class, "initialize_copy");
    rb_define_method(class, "initialize", buffer_initialize, 1);
    rb_define_method(class, "length", buffer_length, 0);
    rb_define_private_method(class, "execute_now", buffer_execute, 1);
    rb_define_private_method(class, "take_address", buffer_take, 0);
    rb_define_private_method(class, "conversions", buffer_conversions, 0);
    rb_define_private_method(class, "plain?", buffer_is_plain, 0);
    class = rb_define_class_under(extension, "Future", rb_cObject);
    rb_undef_alloc_func(class);
    rb_define_private_method(class, "pipeline", future_pipeline, 0);
    rb_define_private_method(class, "index", future_index, 0);
}
