/* A cache of the names of commands. redis-py passes the same few objects, one for each command. */
#include "extension.h"

enum { ENTRIES = 256 };

static command_name cache[ENTRIES];

static command_name *entry_of(PyObject *object)
{
    uintptr_t number = (uintptr_t)object >> 4;
    return &cache[(number ^ number >> 8) % ENTRIES];
}

static bool is_plain(const char *text, Py_ssize_t len)
{
    for (Py_ssize_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~' || (text[i] >= 'a' && text[i] <= 'z'))
            return false;
    return len > 0;
}

const command_name *command_name_of(PyObject *object)
{
    command_name *entry = entry_of(object);
    if (entry->object == object)
        return entry;
    if (!PyUnicode_CheckExact(object))
        return NULL;
    Py_ssize_t len;
    const char *text = PyUnicode_AsUTF8AndSize(object, &len);
    if (!text)
        PyErr_Clear(); /* a lone surrogate */
    if (!text || !is_plain(text, len))
        return NULL;
    PyObject *before = entry->object;
    Py_INCREF(object);
    *entry = (command_name){object, text, (size_t)len};
    Py_XDECREF(before);
    return entry;
}
