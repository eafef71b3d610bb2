/* The module rediscluster._extension. */
#include "extension.h"

#include <string.h>

library_functions library;
python_objects python;

/* Stores the address of a function, which `addresses` has by its name. */
static int bind(PyObject *addresses, const char *name, void *function)
{
    PyObject *number = PyDict_GetItemString(addresses, name);
    void *address = number ? PyLong_AsVoidPtr(number) : NULL;
    if (!address) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ImportError, "the library has no function %s", name);
        return -1;
    }
    memcpy(function, &address, sizeof address);
    return 0;
}

static int hold(PyObject *objects, const char *name, PyObject **object)
{
    PyObject *found = PyDict_GetItemString(objects, name);
    if (!found) {
        PyErr_Format(PyExc_TypeError, "setup() needs %s", name);
        return -1;
    }
    Py_INCREF(found);
    PyObject *before = *object;
    *object = found;
    Py_XDECREF(before);
    return 0;
}

static PyObject *setup(PyObject *module, PyObject *args)
{
    PyObject *addresses, *objects;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!:setup", &PyDict_Type, &addresses, &PyDict_Type, &objects))
        return NULL;
#define BIND(name)                                                                                 \
    if (bind(addresses, #name, &library.name))                                                     \
        return NULL;
    LIBRARY_FUNCTIONS(BIND)
#undef BIND
#define HOLD(name)                                                                                 \
    if (hold(objects, #name, &python.name))                                                        \
        return NULL;
    PYTHON_OBJECTS(HOLD)
#undef HOLD
    Py_RETURN_NONE;
}

static PyObject *wait_callback_installed(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    callback_installed();
    Py_RETURN_NONE;
}

/* read(address, decode): the value of the reply at this address. */
static PyObject *read_reply(PyObject *module, PyObject *args)
{
    unsigned long long address;
    PyObject *decode;
    (void)module;
    if (!PyArg_ParseTuple(args, "KO:read", &address, &decode))
        return NULL;
    return reply_value((const rdc_reply *)(uintptr_t)address, decode);
}

static PyMethodDef functions[] = {
    {"setup", setup, METH_VARARGS, NULL},
    {"wait_callback_installed", wait_callback_installed, METH_NOARGS, NULL},
    {"own_methods", own_methods, METH_O, NULL},
    {"queue_submit", queue_submit, METH_VARARGS, NULL},
    {"queue_take", queue_take, METH_VARARGS, NULL},
    {"read", read_reply, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* The library has one wait callback for the main thread, and the state of this module belongs to the
 * process. */
static int execute(PyObject *module)
{
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "the C extension of rediscluster works in the main interpreter only");
        return -1;
    }
    PyObject *names = PyList_New(0);
#define NAME(name)                                                                                 \
    if (names) {                                                                                   \
        PyObject *text = PyUnicode_FromString(#name);                                              \
        if (!text || PyList_Append(names, text))                                                   \
            Py_CLEAR(names);                                                                       \
        Py_XDECREF(text);                                                                          \
    }
    LIBRARY_FUNCTIONS(NAME)
#undef NAME
    int failed = !names || PyModule_AddObjectRef(module, "LIBRARY_FUNCTIONS", names) || commands_add_types(module);
    Py_XDECREF(names);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_extension",
    .m_doc = "The frequent calls of the package in C.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__extension(void)
{
    return PyModuleDef_Init(&definition);
}
