/* The commands and replies of a queue, in the thread of its event loop: see asyncio/_queue.py. */
#include "extension.h"

PyObject *queue_submit(PyObject *module, PyObject *args)
{
    unsigned long long address, tag;
    PyObject *values, *encoding;
    (void)module;
    if (!PyArg_ParseTuple(args, "KKO!O:queue_submit", &address, &tag, &PyTuple_Type, &values, &encoding))
        return NULL;
    Py_ssize_t count = PyTuple_Size(values);
    if (count == 0)
        return PyErr_Format(PyExc_IndexError, "a command needs a name");
    PyObject **items = PyMem_Malloc((size_t)count * sizeof *items);
    if (!items)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++)
        items[i] = PyTuple_GetItem(values, i);
    arguments command;
    int failed = arguments_set(&command, (text_encoding){encoding, encoding == Py_None}, items, count);
    if (!failed)
        library.rdc_queue_command((rdc_queue *)(uintptr_t)address, tag, command.argc, command.argv, command.lens);
    arguments_free(&command);
    PyMem_Free(items);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* The exception that is set, which is not set any more. NULL, and it stays set, if it is none that a
 * task may have as the result of a command, such as KeyboardInterrupt. */
static PyObject *taken_exception(void)
{
    PyObject *type, *value, *traceback;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* Gives a reply to the future of an entry: a future, a function that reads the reply, and `decode`. */
static int deliver(PyObject *entry, const rdc_reply *reply, PyObject *plain_read, PyObject *read_at)
{
    PyObject *future = PyTuple_GetItem(entry, 0), *read = PyTuple_GetItem(entry, 1);
    PyObject *decode = PyTuple_GetItem(entry, 2);
    PyObject *done = PyObject_CallMethod(future, "done", NULL);
    Py_XDECREF(done);
    if (done != Py_False)
        return done ? 0 : -1;
    PyObject *value = read == plain_read ? reply_value(reply, decode)
                                         : PyObject_CallFunction(read_at, "KOO", (unsigned long long)(uintptr_t)reply,
                                                                 read, decode);
    if (!value && !(value = taken_exception()))
        return -1;
    PyObject *none = PyObject_CallMethod(future, "set_result", "(O)", value);
    Py_DECREF(value);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* Takes the next complete reply. 1, 0 if there is none, or -1 with an exception. */
static int take_one(rdc_queue *queue, PyObject *waiting, PyObject *plain_read, PyObject *read_at)
{
    uint64_t tag;
    rdc_reply *reply = library.rdc_queue_next(queue, &tag);
    if (!reply)
        return 0;
    PyObject *key = PyLong_FromUnsignedLongLong(tag);
    /* A cancelled command has no entry, or a future that is done: its reply is dropped. */
    PyObject *entry = key ? PyDict_GetItemWithError(waiting, key) : NULL;
    Py_XINCREF(entry);
    int failed = entry ? PyDict_DelItem(waiting, key) : PyErr_Occurred() != NULL;
    if (entry && !failed)
        failed = deliver(entry, reply, plain_read, read_at);
    Py_XDECREF(entry);
    Py_XDECREF(key);
    library.rdc_reply_free(reply);
    return failed ? -1 : 1;
}

PyObject *queue_take(PyObject *module, PyObject *args)
{
    unsigned long long address;
    PyObject *waiting, *plain_read, *read_at;
    Py_ssize_t limit;
    (void)module;
    if (!PyArg_ParseTuple(args, "KO!nOO:queue_take", &address, &PyDict_Type, &waiting, &limit, &plain_read, &read_at))
        return NULL;
    Py_ssize_t taken = 0;
    int result = 1;
    while (taken < limit && result > 0) {
        result = take_one((rdc_queue *)(uintptr_t)address, waiting, plain_read, read_at);
        taken += result > 0;
    }
    return result < 0 ? NULL : PyLong_FromSsize_t(taken);
}
