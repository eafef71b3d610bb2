/* Replies as Python objects, in one pass. reply_value() has the results of _convert.read(). */
#include "extension.h"

#include <string.h>

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

static PyObject *node_value(const rdc_reply *reply, int32_t kind, const char *text, int64_t number, PyObject *decode);

static inline PyObject *text_value(const char *text, int64_t len, PyObject *decode)
{
    if (decode == Py_None)
        return PyBytes_FromStringAndSize(text, (Py_ssize_t)len);
    if (decode == python.as_text)
        return PyUnicode_DecodeUTF8(text, (Py_ssize_t)len, NULL);
    PyObject *bytes = PyBytes_FromStringAndSize(text, (Py_ssize_t)len);
    PyObject *value = bytes ? PyObject_CallFunctionObjArgs(decode, bytes, NULL) : NULL;
    Py_XDECREF(bytes);
    return value;
}

static PyObject *error_value(const rdc_reply *reply, const char *text, int64_t len)
{
    const char *code = library.rdc_error_name(library.rdc_reply_error(reply));
    const char *node = library.rdc_reply_node(reply);
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)len, "replace");
    PyObject *sent = library.rdc_reply_sent(reply) ? Py_True : Py_False;
    PyObject *value = message ? PyObject_CallFunction(python.make_error, "sOOz", code, message, sent, node) : NULL;
    Py_XDECREF(message);
    return value;
}

static PyObject *double_value(const char *text)
{
    double value = PyOS_string_to_double(text, NULL, NULL);
    if (PyErr_Occurred()) {
        /* "nan(0x7)", of the C library of the server. */
        PyErr_Clear();
        value = Py_NAN;
    }
    return PyFloat_FromDouble(value);
}

static inline PyObject *element_value(const element_window *window, size_t i, PyObject *decode)
{
    int32_t kind = window->kinds[i];
    if (kind == RDC_STRING)
        return text_value(window->texts[i], window->numbers[i], decode);
    /* Of the scalar kinds, only an error needs its reply. */
    bool is_scalar = window->texts[i] || kind == RDC_INTEGER || kind == RDC_NIL || kind == RDC_BOOL;
    const rdc_reply *reply = NULL;
    if (!is_scalar || kind == RDC_ERROR)
        reply = library.rdc_reply_at(window->reply, window->first + i);
    return node_value(reply, kind, window->texts[i], window->numbers[i], decode);
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

static PyObject *list_value(const rdc_reply *reply, int64_t count, PyObject *decode)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    element_window window;
    window_begin(&window, reply);
    while (list && window_next(&window)) {
        for (size_t i = 0; i < window.count; i++) {
            PyObject *value = element_value(&window, i, decode);
            if (!value) {
                Py_DECREF(list);
                return NULL;
            }
            PyList_SetItem(list, (Py_ssize_t)(window.first + i), value);
        }
    }
    return list;
}

/* The elements key, value, key, value, ... as a dict. NULL without an exception if a key is an
 * aggregate, which has no hash. */
static PyObject *dict_value(const rdc_reply *reply, PyObject *decode)
{
    PyObject *dict = PyDict_New();
    element_window window;
    window_begin(&window, reply);
    while (dict && window_next(&window)) {
        for (size_t i = 0; i + 1 < window.count; i += 2) {
            PyObject *key = element_value(&window, i, decode);
            PyObject *value = key ? element_value(&window, i + 1, decode) : NULL;
            int failed = !value || PyDict_SetItem(dict, key, value);
            Py_XDECREF(key);
            Py_XDECREF(value);
            if (failed) {
                Py_DECREF(dict);
                if (value && PyErr_ExceptionMatches(PyExc_TypeError))
                    PyErr_Clear();
                return NULL;
            }
        }
    }
    return dict;
}

/* A list of tuples, for a map whose keys have no hash. */
static PyObject *tuples_value(const rdc_reply *reply, int64_t count, PyObject *decode)
{
    PyObject *flat = list_value(reply, count, decode);
    PyObject *list = flat ? PyList_New((Py_ssize_t)count / 2) : NULL;
    for (Py_ssize_t i = 0; list && i < (Py_ssize_t)count / 2; i++) {
        PyObject *pair = PyTuple_Pack(2, PyList_GetItem(flat, 2 * i), PyList_GetItem(flat, 2 * i + 1));
        if (!pair)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, i, pair);
    }
    Py_XDECREF(flat);
    return list;
}

static PyObject *map_value(const rdc_reply *reply, int64_t count, PyObject *decode)
{
    PyObject *dict = dict_value(reply, decode);
    return dict || PyErr_Occurred() ? dict : tuples_value(reply, count, decode);
}

static PyObject *set_value(const rdc_reply *reply, int64_t count, PyObject *decode)
{
    PyObject *list = list_value(reply, count, decode);
    PyObject *set = list ? PySet_New(list) : NULL;
    if (list && !set && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        return list;
    }
    Py_XDECREF(list);
    return set;
}

static PyObject *aggregate_value(const rdc_reply *reply, int32_t kind, int64_t count, PyObject *decode)
{
    if (Py_EnterRecursiveCall(" while a reply is read"))
        return NULL;
    PyObject *value;
    if (kind == RDC_MAP)
        value = map_value(reply, count, decode);
    else if (kind == RDC_SET)
        value = set_value(reply, count, decode);
    else
        value = list_value(reply, count, decode);
    Py_LeaveRecursiveCall();
    return value;
}

static PyObject *node_value(const rdc_reply *reply, int32_t kind, const char *text, int64_t number, PyObject *decode)
{
    switch (kind) {
    case RDC_STRING:
    case RDC_STATUS:
    case RDC_VERBATIM:
        return text_value(text, number, decode);
    case RDC_INTEGER:
        return PyLong_FromLongLong(number);
    case RDC_NIL:
        Py_RETURN_NONE;
    case RDC_BOOL:
        return PyBool_FromLong(number != 0);
    case RDC_ERROR:
        return error_value(reply, text, number);
    case RDC_DOUBLE:
        return double_value(text);
    case RDC_BIGNUM:
        return PyLong_FromString(text, NULL, 10);
    default:
        /* A kind of a later library: its text if it has one, else its elements. */
        return text ? PyBytes_FromStringAndSize(text, (Py_ssize_t)number)
                    : aggregate_value(reply, kind, number, decode);
    }
}

PyObject *reply_value(const rdc_reply *reply, PyObject *decode)
{
    const char *text;
    int64_t number;
    int32_t kind = library.rdc_reply_read(reply, &text, &number);
    return node_value(reply, kind, text, number, decode);
}

PyObject *reply_pairs(const rdc_reply *reply, PyObject *decode)
{
    if (library.rdc_reply_type(reply) != RDC_ARRAY || library.rdc_reply_len(reply) % 2)
        return reply_value(reply, decode);
    PyObject *dict = dict_value(reply, decode);
    return dict || PyErr_Occurred() ? dict : reply_value(reply, decode);
}
