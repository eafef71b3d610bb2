/* Replies as JavaScript values. */
#include "addon.h"

#define CHUNK 64 /* elements that are read, and whose handles live, at a time */
#define MAX_SAFE_INTEGER (((int64_t)1 << 53) - 1)

static napi_value text(napi_env env, const char *bytes, int64_t length, int flags) {
    napi_value value = NULL;
    if (flags & AS_BUFFER)
        napi_create_buffer_copy(env, (size_t)length, bytes, NULL, &value);
    else
        napi_create_string_utf8(env, bytes, (size_t)length, &value);
    return value;
}

static napi_value call(napi_env env, napi_ref function, size_t argc, const napi_value *argv) {
    napi_value callee, undefined, value = NULL;
    napi_get_undefined(env, &undefined);
    if (napi_get_reference_value(env, function, &callee) == napi_ok)
        napi_call_function(env, undefined, callee, argc, argv, &value);
    return value;
}

/* A number that a double cannot hold exactly is a BigInt, so that no digit is lost unnoticed. */
static napi_value integer(napi_env env, int64_t number, int flags) {
    napi_value value = NULL;
    bool exact = number <= MAX_SAFE_INTEGER && number >= -MAX_SAFE_INTEGER;
    if (flags & NUMBERS_AS_TEXT) {
        napi_value whole;
        napi_create_bigint_int64(env, number, &whole);
        napi_coerce_to_string(env, whole, &value);
    } else if (exact) {
        napi_create_int64(env, number, &value);
    } else {
        napi_create_bigint_int64(env, number, &value);
    }
    return value;
}

static napi_value error(napi_env env, js_environment *environment, const rdc_reply *reply) {
    napi_value argv[5];
    const char *node = rdc_reply_node(reply), *name = rdc_error_name(rdc_reply_error(reply));
    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &argv[0]);
    napi_create_string_utf8(env, rdc_reply_str(reply), rdc_reply_len(reply), &argv[1]);
    napi_get_boolean(env, rdc_reply_sent(reply) != 0, &argv[2]);
    if (node == NULL)
        napi_get_null(env, &argv[3]);
    else
        napi_create_string_utf8(env, node, NAPI_AUTO_LENGTH, &argv[3]);
    napi_create_int64(env, rdc_reply_int(reply), &argv[4]);
    return call(env, environment->make_error, 5, argv);
}

static napi_value elements(napi_env env, js_environment *environment, const rdc_reply *reply, int flags);

/* The value of one reply, which has been read. */
static napi_value value_of(napi_env env, js_environment *environment, const rdc_reply *reply, int32_t type,
                           const char *bytes, int64_t number, int flags) {
    napi_value value = NULL;
    switch (type) {
    case RDC_STRING:
    case RDC_STATUS:
    case RDC_VERBATIM:
        return text(env, bytes, number, flags);
    case RDC_INTEGER:
        return integer(env, number, flags);
    case RDC_NIL:
        napi_get_null(env, &value);
        return value;
    case RDC_DOUBLE:
        if (flags & NUMBERS_AS_TEXT) return text(env, bytes, number, flags);
        napi_create_double(env, rdc_reply_double(reply), &value);
        return value;
    case RDC_BOOL:
        napi_get_boolean(env, number != 0, &value);
        return value;
    case RDC_BIGNUM:
        value = text(env, bytes, number, flags & NUMBERS_AS_TEXT);
        return flags & NUMBERS_AS_TEXT || value == NULL ? value : call(env, environment->to_bigint, 1, &value);
    case RDC_ERROR:
        return error(env, environment, reply);
    case RDC_MAP:
        value = elements(env, environment, reply, flags);
        return value == NULL ? NULL : call(env, environment->to_object, 1, &value);
    default: /* ARRAY, SET, PUSH, and types of a later library, which may have elements */
        return elements(env, environment, reply, flags);
    }
}

/* Whether the type's value needs the reply itself, not only its text and number. */
static bool needs_reply(int32_t type) {
    return type != RDC_STRING && type != RDC_STATUS && type != RDC_INTEGER && type != RDC_NIL;
}

static napi_value elements(napi_env env, js_environment *environment, const rdc_reply *reply, int flags) {
    int32_t types[CHUNK];
    const char *strings[CHUNK];
    int64_t numbers[CHUNK];
    size_t length = rdc_reply_len(reply), first = 0;
    napi_value array, argv[1 + CHUNK];
    if (napi_create_array(env, &array) != napi_ok) return NULL;
    while (first < length) {
        size_t read = rdc_reply_read_array(reply, first, CHUNK, types, strings, numbers);
        bool failed = read == 0;
        napi_handle_scope scope;
        if (napi_open_handle_scope(env, &scope) != napi_ok) return NULL;
        argv[0] = array;
        for (size_t i = 0; i < read && !failed; i++) {
            const rdc_reply *element = needs_reply(types[i]) ? rdc_reply_at(reply, first + i) : NULL;
            argv[1 + i] = value_of(env, environment, element, types[i], strings[i], numbers[i], flags);
            failed = argv[1 + i] == NULL;
        }
        failed = failed || call(env, environment->append, 1 + read, argv) == NULL;
        napi_close_handle_scope(env, scope);
        if (failed) return NULL;
        first += read;
    }
    return array;
}

napi_value reply_value(napi_env env, js_environment *environment, const rdc_reply *reply, int flags) {
    const char *bytes;
    int64_t number;
    int32_t type = rdc_reply_read(reply, &bytes, &number);
    return value_of(env, environment, reply, type, bytes, number, flags);
}
