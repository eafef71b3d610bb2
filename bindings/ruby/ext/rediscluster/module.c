/* The module RedisCluster::Extension. */
#define _GNU_SOURCE 1 /* dladdr() */
#include "extension.h"

#include <dlfcn.h>

library_functions library;
ruby_objects objects;

/* Stores the address of a function, which `addresses` has by its name. */
static void bind(VALUE addresses, const char *name, void *function)
{
    VALUE number = rb_hash_aref(addresses, ID2SYM(rb_intern(name)));
    if (NIL_P(number))
        rb_raise(rb_eLoadError, "the library has no function %s", name);
    void *address = address_of(number);
    memcpy(function, &address, sizeof address);
}

/* ffi closes the library when the interpreter exits, possibly before the last pipeline is freed. */
static void keep_library_loaded(void)
{
    Dl_info info;
    void *address;
    memcpy(&address, &library.rdc_reply_free, sizeof address);
    if (dladdr(address, &info))
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

/* setup(addresses, error, wait_callback, future): the addresses of LIBRARY_FUNCTIONS by name, the class Error, the
 * module WaitCallback and the class Future. */
static VALUE setup(VALUE module, VALUE addresses, VALUE error, VALUE wait_callback, VALUE future)
{
    (void)module;
    Check_Type(addresses, T_HASH);
#define BIND(name) bind(addresses, #name, &library.name);
    LIBRARY_FUNCTIONS(BIND)
#undef BIND
    objects = (ruby_objects){error, wait_callback, future};
    rb_gc_register_mark_object(error);
    rb_gc_register_mark_object(wait_callback);
    rb_gc_register_mark_object(future);
    keep_library_loaded();
    return Qnil;
}

__attribute__((visibility("default"))) void Init_extension(void);

void Init_extension(void)
{
    VALUE client = rb_define_class("RedisCluster", rb_cObject);
    VALUE extension = rb_define_module_under(client, "Extension");
    VALUE names = rb_ary_new();
#define NAME(name) rb_ary_push(names, ID2SYM(rb_intern(#name)));
    LIBRARY_FUNCTIONS(NAME)
#undef NAME
    rb_define_const(extension, "LIBRARY_FUNCTIONS", rb_obj_freeze(names));
    rb_define_singleton_method(extension, "setup", setup, 4);
    arguments_init();
    wait_init(extension);
    log_init(extension);
    reply_init(extension);
    commands_init(extension);
    pipeline_init(extension);
}
