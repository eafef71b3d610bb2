/* Arguments of a command, by the rules of redis-py: texts, bytes, integers and floats. The bytes of
 * texts and of bytes objects are not copied. */
#include "extension.h"

#include <string.h>

/* Keeps a new object until the arguments are freed; steals the reference, which may be NULL. */
static PyObject *keep(arguments *self, PyObject *object)
{
    if (!object)
        return NULL;
    if (!self->owned)
        self->owned = PyList_New(0);
    int failed = !self->owned || PyList_Append(self->owned, object);
    Py_DECREF(object);
    return failed ? NULL : object;
}

static int bytes_of(PyObject *bytes, const char **at, size_t *len)
{
    char *data;
    Py_ssize_t size;
    if (!bytes || PyBytes_AsStringAndSize(bytes, &data, &size))
        return -1;
    *at = data;
    *len = (size_t)size;
    return 0;
}

static int text_of(PyObject *text, const char **at, size_t *len)
{
    Py_ssize_t size;
    const char *data = text ? PyUnicode_AsUTF8AndSize(text, &size) : NULL;
    if (!data)
        return -1;
    *at = data;
    *len = (size_t)size;
    return 0;
}

static int encoded_text(arguments *self, text_encoding encoding, PyObject *text, const char **at, size_t *len)
{
    if (encoding.is_utf8)
        return text_of(text, at, len);
    const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(encoding.encoding, 0), NULL);
    const char *errors = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(encoding.encoding, 1), NULL);
    if (!name || !errors)
        return -1;
    return bytes_of(keep(self, PyUnicode_AsEncodedString(text, name, errors)), at, len);
}

/* An integer in decimal. */
static int integer_text(arguments *self, PyObject *value, const char **at, size_t *len)
{
    return text_of(keep(self, PyNumber_ToBase(value, 10)), at, len);
}

static int refuse(PyObject *value)
{
    PyObject *exception = PyObject_CallFunctionObjArgs(python.bad_argument, value, NULL);
    if (exception)
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_XDECREF(exception);
    return -1;
}

static int set_one(arguments *self, text_encoding encoding, PyObject *value, const char **at, size_t *len)
{
    if (PyUnicode_Check(value))
        return encoded_text(self, encoding, value, at, len);
    if (PyBytes_Check(value))
        return bytes_of(value, at, len);
    if (PyBool_Check(value))
        return refuse(value);
    if (PyLong_Check(value))
        return integer_text(self, value, at, len);
    if (PyFloat_Check(value))
        return text_of(keep(self, PyObject_Repr(value)), at, len);
    /* Other threads can change these while the call waits: their bytes are copied. */
    if (PyByteArray_Check(value) || PyMemoryView_Check(value))
        return bytes_of(keep(self, PyBytes_FromObject(value)), at, len);
    return refuse(value);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The number of words in a text; stores them in `argv` and `lens` unless these are NULL. */
static size_t split_words(const char *text, size_t len, const char **argv, size_t *lens)
{
    size_t count = 0;
    for (size_t i = 0; i < len;) {
        size_t first = i;
        while (i < len && !is_space(text[i]))
            i++;
        if (i > first && argv) {
            argv[count] = text + first;
            lens[count] = i - first;
        }
        count += i > first;
        i += i == first;
    }
    return count;
}

/* Converts all values but the first. The second becomes the argument number `next`. */
static int set_from(arguments *self, text_encoding encoding, PyObject *const *values, Py_ssize_t count, size_t next)
{
    for (Py_ssize_t i = 1; i < count; i++, next++)
        if (set_one(self, encoding, values[i], &self->argv[next], &self->lens[next]))
            return -1;
    return 0;
}

int arguments_set(arguments *self, text_encoding encoding, PyObject *const *values, Py_ssize_t count)
{
    self->argv = self->inline_argv;
    self->lens = self->inline_lens;
    self->owned = NULL;
    const char *name;
    size_t len;
    const command_name *known = count <= INLINE_ARGUMENTS ? command_name_of(values[0]) : NULL;
    if (known) {
        self->argc = (size_t)count;
        self->argv[0] = known->text;
        self->lens[0] = known->len;
        return set_from(self, encoding, values, count, 1);
    }
    /* The encoding of the client is that of keys and values: servers know the names in ASCII. */
    if (set_one(self, (text_encoding){NULL, true}, values[0], &name, &len))
        return -1;
    /* redis-py passes "CONFIG GET" as one argument. */
    size_t words = split_words(name, len, NULL, NULL);
    self->argc = words + (size_t)count - 1;
    if (self->argc > INLINE_ARGUMENTS) {
        self->argv = PyMem_Malloc(self->argc * sizeof *self->argv);
        self->lens = PyMem_Malloc(self->argc * sizeof *self->lens);
        if (!self->argv || !self->lens) {
            PyErr_NoMemory();
            return -1;
        }
    }
    split_words(name, len, self->argv, self->lens);
    return set_from(self, encoding, values, count, words);
}

void arguments_free(arguments *self)
{
    if (self->argv != self->inline_argv) {
        PyMem_Free(self->argv);
        PyMem_Free(self->lens);
    }
    Py_XDECREF(self->owned);
}

bool arguments_are(const arguments *self, const char *name, size_t argc)
{
    return self->argc == argc && self->lens[0] == strlen(name) && memcmp(self->argv[0], name, self->lens[0]) == 0;
}
