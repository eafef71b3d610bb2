/* Arguments of a command, by the rules of Convert.encode: strings, symbols, integers and floats, also in
 * arrays and hashes, which are flattened. */
#include "extension.h"

/* Longer strings are never inside their object, so that the garbage collector does not move them. */
enum { LONG_STRING = 1024 };

static ID id_upcase;

/* ---- Flattening ------------------------------------------------------------------------------- */

static void flatten(VALUE flat, VALUE argument);

static int flatten_pair(VALUE key, VALUE value, VALUE flat)
{
    flatten(flat, key);
    flatten(flat, value);
    return ST_CONTINUE;
}

/* Appends the strings and small integers that an argument is sent as. */
static void flatten(VALUE flat, VALUE argument)
{
    if (ruby_stack_check())
        rb_raise(rb_eSysStackError, "stack level too deep");
    if (RB_TYPE_P(argument, T_STRING) || FIXNUM_P(argument)) {
        rb_ary_push(flat, argument);
    } else if (RB_TYPE_P(argument, T_ARRAY)) {
        for (long i = 0; i < RARRAY_LEN(argument); i++)
            flatten(flat, RARRAY_AREF(argument, i));
    } else if (RB_TYPE_P(argument, T_HASH)) {
        rb_hash_foreach(argument, flatten_pair, flat);
    } else if (SYMBOL_P(argument)) {
        rb_ary_push(flat, rb_sym2str(argument));
    } else if (RB_FLOAT_TYPE_P(argument) || RB_TYPE_P(argument, T_BIGNUM)) {
        rb_ary_push(flat, rb_obj_as_string(argument));
    } else {
        rb_raise(rb_eTypeError, "an argument of a command is of type %" PRIsVALUE
                                "; pass a String, Symbol, Integer or Float", rb_obj_class(argument));
    }
}

/* {ex: 5} is "EX" "5", {nx: true} is "NX"; false and nil are nothing. */
static int flatten_option(VALUE name, VALUE value, VALUE flat)
{
    if (!RTEST(value))
        return ST_CONTINUE;
    rb_ary_push(flat, rb_funcall(rb_obj_as_string(name), id_upcase, 0));
    if (value != Qtrue)
        flatten(flat, value);
    return ST_CONTINUE;
}

static bool is_flat(int argc, const VALUE *argv)
{
    for (int i = 0; i < argc; i++)
        if (!FIXNUM_P(argv[i]) && !RB_TYPE_P(argv[i], T_STRING))
            return false;
    return true;
}

/* ---- Bytes ------------------------------------------------------------------------------------ */

static size_t fixnum_text(VALUE fixnum, char *text)
{
    long value = FIX2LONG(fixnum);
    unsigned long rest = value < 0 ? 0UL - (unsigned long)value : (unsigned long)value;
    char digits[NUMBER_TEXT];
    size_t len = 0, used = 0;
    do
        digits[len++] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        text[used++] = '-';
    while (len)
        text[used++] = digits[--len];
    return used;
}

/* The bytes that an argument needs in the buffer of the command. */
static size_t bytes_needed(VALUE argument, bytes_mode mode)
{
    if (FIXNUM_P(argument))
        return NUMBER_TEXT;
    size_t len = (size_t)RSTRING_LEN(argument);
    return mode == COPY_BYTES && len < LONG_STRING ? len : 0;
}

/* Arrays for the arguments, and a buffer for the bytes that are copied. */
static char *allocate(arguments *self, size_t bytes)
{
    self->argv = self->inline_argv;
    self->lens = self->inline_lens;
    if (self->argc > INLINE_ARGUMENTS) {
        size_t size = self->argc * (sizeof *self->argv + sizeof *self->lens);
        self->argv = rb_alloc_tmp_buffer(&self->buffer, (long)size);
        self->lens = (size_t *)(self->argv + self->argc);
    }
    return bytes <= INLINE_BYTES ? self->inline_bytes : rb_alloc_tmp_buffer(&self->bytes, (long)bytes);
}

/* A string that nobody can change meanwhile, with the same bytes: the original gets others when it is
 * changed. */
static VALUE shared(arguments *self, VALUE string)
{
    if (!self->kept)
        self->kept = rb_ary_new();
    VALUE frozen = rb_str_new_frozen(string);
    rb_ary_push(self->kept, frozen);
    return frozen;
}

static void set_bytes(arguments *self, size_t first, const VALUE *values, bytes_mode mode, char *free)
{
    for (size_t i = first; i < self->argc; i++) {
        VALUE value = values[i - first];
        if (FIXNUM_P(value)) {
            self->argv[i] = free;
            free += self->lens[i] = fixnum_text(value, free);
            continue;
        }
        size_t len = self->lens[i] = (size_t)RSTRING_LEN(value);
        if (mode == BORROW_BYTES) {
            self->argv[i] = RSTRING_PTR(value);
        } else if (len >= LONG_STRING) {
            self->argv[i] = RSTRING_PTR(shared(self, value));
        } else {
            self->argv[i] = memcpy(free, RSTRING_PTR(value), len);
            free += len;
        }
    }
}

void arguments_set(arguments *self, const command_name *name, int argc, const VALUE *argv, VALUE options,
                   bytes_mode mode)
{
    self->flat = self->buffer = self->bytes = self->kept = 0;
    bool has_options = !NIL_P(options) && RHASH_SIZE(options) > 0;
    if (has_options || !is_flat(argc, argv)) {
        self->flat = rb_ary_new_capa(argc);
        for (int i = 0; i < argc; i++)
            flatten(self->flat, argv[i]);
        if (has_options)
            rb_hash_foreach(options, flatten_option, self->flat);
        argc = (int)RARRAY_LEN(self->flat);
        argv = RARRAY_CONST_PTR(self->flat);
    }
    size_t first = name ? 1 : 0, bytes = 0;
    self->argc = first + (size_t)argc;
    if (self->argc == 0)
        rb_raise(rb_eArgError, "the command is empty; pass at least its name");
    for (int i = 0; i < argc; i++)
        bytes += bytes_needed(argv[i], mode);
    char *free = allocate(self, bytes);
    if (name) {
        self->argv[0] = name->text;
        self->lens[0] = name->len;
    }
    set_bytes(self, first, argv, mode, free);
}

command_kind arguments_kind(const arguments *self)
{
    if (self->argc < 2 || self->argc > 3 || self->lens[0] != 3)
        return OTHER_COMMAND;
    if (self->argc == 2)
        return memcmp(self->argv[0], "GET", 3) == 0 ? GET_COMMAND : OTHER_COMMAND;
    return memcmp(self->argv[0], "SET", 3) == 0 ? SET_COMMAND : OTHER_COMMAND;
}

void arguments_init(void)
{
    id_upcase = rb_intern("upcase");
}
