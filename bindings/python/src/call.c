/* What surrounds a call that may wait: see _wait_callback.py, whose functions are called here. */
#include "extension.h"

static bool is_installed;

void callback_installed(void)
{
    is_installed = true;
}

int before_call(void)
{
    if (is_installed)
        return 0;
    PyObject *none = PyObject_CallNoArgs(python.install_callback);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

int after_call(void)
{
    if (PyList_Size(python.pending) == 0)
        return 0;
    PyObject *exception = PyObject_CallNoArgs(python.take_pending);
    if (!exception)
        return -1;
    /* None: the exception belongs to a call of the main thread, and this is another one. */
    int result = exception == Py_None ? 0 : -1;
    if (result)
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return result;
}
