/* Replies as Ruby objects, in one pass. reply_value() has the results of Convert.value. */
#include "extension.h"

#include <ruby/encoding.h>

/* Elements that one call of the library reads. */
enum { ELEMENTS_AT_ONCE = 64 };

/* Elements of an aggregate, as rdc_reply_read_array() returns them, from index `first` on. */
typedef struct {
    const rdc_reply *reply;
    size_t first;
    size_t count;
    int32_t kinds[ELEMENTS_AT_ONCE];
    const char *texts[ELEMENTS_AT_ONCE];
    int64_t numbers[ELEMENTS_AT_ONCE];
} element_window;

unsigned long reply_errors;

static VALUE node_value(const rdc_reply *reply, int32_t kind, const char *text, int64_t number);

/* A new String in UTF-8; as in redis-client, a binary one if its bytes are not UTF-8. rb_utf8_str_new() costs 170
 * instructions more. */
static inline VALUE text_value(const char *text, int64_t len)
{
    VALUE string = rb_str_new(text, (long)len);
    RB_ENCODING_SET_INLINED(string, rb_utf8_encindex());
    if (rb_enc_str_coderange(string) == RUBY_ENC_CODERANGE_BROKEN)
        rb_enc_associate_index(string, rb_ascii8bit_encindex());
    return string;
}

static VALUE error_value(const rdc_reply *reply, const char *text, int64_t len)
{
    const char *node = library.rdc_reply_node(reply);
    VALUE args[] = {
        INT2NUM(library.rdc_reply_error(reply)),
        rb_utf8_str_new(text, (long)len),
        node ? rb_utf8_str_new_cstr(node) : Qnil,
        library.rdc_reply_sent(reply) ? Qtrue : Qfalse,
    };
    reply_errors++;
    return rb_funcallv(objects.error, rb_intern("build"), 4, args);
}

static inline VALUE element_value(const element_window *window, size_t i)
{
    int32_t kind = window->kinds[i];
    if (kind == RDC_STRING)
        return text_value(window->texts[i], window->numbers[i]);
    /* The other frequent kinds do not need their reply. */
    const rdc_reply *reply = NULL;
    if (kind != RDC_INTEGER && kind != RDC_NIL && kind != RDC_STATUS)
        reply = library.rdc_reply_at(window->reply, window->first + i);
    return node_value(reply, kind, window->texts[i], window->numbers[i]);
}

static void window_begin(element_window *window, const rdc_reply *reply)
{
    window->reply = reply;
    window->first = window->count = 0;
}

/* Reads the next elements; false if there are none. */
static bool window_next(element_window *window)
{
    window->first += window->count;
    window->count = library.rdc_reply_read_array(window->reply, window->first, ELEMENTS_AT_ONCE, window->kinds,
                                                 window->texts, window->numbers);
    return window->count > 0;
}

static VALUE array_value(const rdc_reply *reply, int64_t count)
{
    VALUE array = rb_ary_new_capa((long)count);
    VALUE values[ELEMENTS_AT_ONCE];
    element_window window;
    window_begin(&window, reply);
    while (window_next(&window)) {
        for (size_t i = 0; i < window.count; i++)
            values[i] = element_value(&window, i);
        rb_ary_cat(array, values, (long)window.count);
    }
    return array;
}

/* Inserting all pairs at once costs less than one after the other. */
static VALUE hash_value(const rdc_reply *reply, int64_t count)
{
    VALUE pairs = array_value(reply, count);
    /* The hash would replace a string that is not frozen by a copy. */
    for (long i = 0; i < RARRAY_LEN(pairs); i += 2)
        if (RB_TYPE_P(RARRAY_AREF(pairs, i), T_STRING))
            OBJ_FREEZE(RARRAY_AREF(pairs, i));
    VALUE hash = rb_hash_new();
    rb_hash_bulk_insert(RARRAY_LEN(pairs) & ~1L, RARRAY_CONST_PTR(pairs), hash);
    RB_GC_GUARD(pairs);
    return hash;
}

static VALUE aggregate_value(const rdc_reply *reply, int32_t kind, int64_t count)
{
    if (ruby_stack_check())
        rb_raise(rb_eSysStackError, "stack level too deep");
    return kind == RDC_MAP ? hash_value(reply, count) : array_value(reply, count);
}

static VALUE node_value(const rdc_reply *reply, int32_t kind, const char *text, int64_t number)
{
    switch (kind) {
    case RDC_STRING:
    case RDC_STATUS:
    case RDC_VERBATIM:
        return text_value(text, number);
    case RDC_INTEGER:
        return LL2NUM(number);
    case RDC_NIL:
        return Qnil;
    case RDC_BOOL:
        return number ? Qtrue : Qfalse;
    case RDC_ERROR:
        return error_value(reply, text, number);
    case RDC_DOUBLE:
        return DBL2NUM(library.rdc_reply_double(reply));
    case RDC_BIGNUM:
        return rb_cstr_to_inum(text, 10, 1);
    default:
        return aggregate_value(reply, kind, number);
    }
}

VALUE reply_value(const rdc_reply *reply)
{
    const char *text;
    int64_t number;
    int32_t kind = library.rdc_reply_read(reply, &text, &number);
    return node_value(reply, kind, text, number);
}

static VALUE value_of(VALUE reply)
{
    return reply_value((const rdc_reply *)reply);
}

static VALUE free_reply(VALUE reply)
{
    library.rdc_reply_free((rdc_reply *)reply);
    return Qnil;
}

VALUE reply_take(rdc_reply *reply)
{
    return rb_ensure(value_of, (VALUE)reply, free_reply, (VALUE)reply);
}

/* The value of the reply at this address. */
static VALUE read_reply(VALUE module, VALUE address)
{
    (void)module;
    return reply_value(address_of(address));
}

void reply_init(VALUE extension)
{
    rb_define_singleton_method(extension, "read", read_reply, 1);
}
