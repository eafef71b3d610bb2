/* The base classes of the client and of its pipelines: execute_command() for the usual commands. What
 * is unusual goes to methods of their subclasses in Python, with the same arguments. */
#include "extension.h"

#include <string.h>

/* An object of either class. Its Python attributes are the fields of the same name. */
typedef struct {
    PyObject_HEAD
    /* The handle of the library, or 0: then every command is unusual. The subclass keeps it alive. */
    unsigned long long address;
    PyObject *encoding; /* a tuple of an encoding and an error handler */
    bool is_utf8;
    PyObject *decode;
    PyObject *callbacks;
    PyObject *targets;  /* a dict by command: of a client, the commands that have another target */
    PyObject *commands; /* a list of tuples of a name and its options: of a pipeline */
    PyObject *latest;   /* the latest of these tuples whose options were empty */
    const PyObject *latest_name;
    Py_ssize_t repeats; /* how many more of it belong at the end of `commands` */
} commands_object;

/* ---- Attributes ------------------------------------------------------------------------------- */

static PyMemberDef members[] = {
    {"_address", T_ULONGLONG, offsetof(commands_object, address), 0, NULL},
    {"_decode", T_OBJECT_EX, offsetof(commands_object, decode), 0, NULL},
    {"response_callbacks", T_OBJECT_EX, offsetof(commands_object, callbacks), 0, NULL},
    {"_default_targets", T_OBJECT_EX, offsetof(commands_object, targets), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *get_encoding(commands_object *self, void *closure)
{
    (void)closure;
    if (!self->encoding) {
        PyErr_SetString(PyExc_AttributeError, "_encoding");
        return NULL;
    }
    Py_INCREF(self->encoding);
    return self->encoding;
}

/* Whether an element of `encoding` is this text, without regard to case. */
static bool element_is(PyObject *encoding, Py_ssize_t i, const char *text)
{
    PyObject *element = PyTuple_GetItem(encoding, i);
    PyObject *lower = element ? PyObject_CallMethod(element, "lower", NULL) : NULL;
    bool same = lower && PyUnicode_CompareWithASCIIString(lower, text) == 0;
    Py_XDECREF(lower);
    return same;
}

static int set_encoding(commands_object *self, PyObject *value, void *closure)
{
    (void)closure;
    if (!value || !PyTuple_Check(value) || PyTuple_Size(value) != 2) {
        PyErr_SetString(PyExc_TypeError, "_encoding is a tuple of an encoding and an error handler");
        return -1;
    }
    self->is_utf8 = (element_is(value, 0, "utf-8") || element_is(value, 0, "utf8")) && element_is(value, 1, "strict");
    if (PyErr_Occurred())
        return -1;
    PyObject *before = self->encoding;
    Py_INCREF(value);
    self->encoding = value;
    Py_XDECREF(before);
    return 0;
}

/* Appends the repeated tuple to `commands`. */
static int append_repeats(commands_object *self)
{
    if (self->repeats == 0)
        return 0;
    PyObject *one = PyList_New(1);
    if (!one)
        return -1;
    Py_INCREF(self->latest);
    PyList_SetItem(one, 0, self->latest);
    PyObject *more = PySequence_Repeat(one, self->repeats);
    PyObject *all = more ? PySequence_InPlaceConcat(self->commands, more) : NULL;
    int failed = !all;
    self->repeats = failed ? self->repeats : 0;
    Py_DECREF(one);
    Py_XDECREF(more);
    Py_XDECREF(all);
    return failed ? -1 : 0;
}

static PyObject *get_commands(commands_object *self, void *closure)
{
    (void)closure;
    if (!self->commands) {
        PyErr_SetString(PyExc_AttributeError, "_commands");
        return NULL;
    }
    if (append_repeats(self))
        return NULL;
    Py_INCREF(self->commands);
    return self->commands;
}

static int set_commands(commands_object *self, PyObject *value, void *closure)
{
    (void)closure;
    if (!value || !PyList_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_commands is a list");
        return -1;
    }
    PyObject *before = self->commands;
    Py_INCREF(value);
    self->commands = value;
    self->repeats = 0;
    Py_XDECREF(before);
    return 0;
}

static PyGetSetDef properties[] = {
    {"_commands", (getter)get_commands, (setter)set_commands, NULL, NULL},
    {"_encoding", (getter)get_encoding, (setter)set_encoding, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static int traverse(commands_object *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->encoding);
    Py_VISIT(self->decode);
    Py_VISIT(self->callbacks);
    Py_VISIT(self->targets);
    Py_VISIT(self->commands);
    Py_VISIT(self->latest);
    return 0;
}

static int clear(commands_object *self)
{
    Py_CLEAR(self->encoding);
    Py_CLEAR(self->decode);
    Py_CLEAR(self->callbacks);
    Py_CLEAR(self->targets);
    Py_CLEAR(self->commands);
    Py_CLEAR(self->latest);
    self->repeats = 0;
    return 0;
}

static void dealloc(commands_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_object(self);
    Py_DECREF(type);
}

/* ---- What both classes need ------------------------------------------------------------------- */

static text_encoding encoding_of(const commands_object *self)
{
    return (text_encoding){self->encoding, self->is_utf8};
}

/* Whether the object has its handle and what execute_command() needs of it. */
static bool is_ready(const commands_object *self)
{
    return self->address && self->encoding && self->decode && self->callbacks;
}

/* Calls the method `name` of the subclass with a tuple of the arguments and a dict of the options. */
static PyObject *unusual(commands_object *self, const char *name, PyObject *const *args, Py_ssize_t count,
                         PyObject *names)
{
    PyObject *result = NULL;
    PyObject *tuple = PyTuple_New(count);
    PyObject *options = PyDict_New();
    for (Py_ssize_t i = 0; tuple && i < count; i++) {
        Py_INCREF(args[i]);
        PyTuple_SetItem(tuple, i, args[i]);
    }
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    bool complete = tuple && options;
    for (Py_ssize_t i = 0; complete && i < named; i++)
        complete = PyDict_SetItem(options, PyTuple_GetItem(names, i), args[count + i]) == 0;
    if (complete)
        result = PyObject_CallMethod((PyObject *)self, name, "OO", tuple, options);
    Py_XDECREF(tuple);
    Py_XDECREF(options);
    return result;
}

/* The options of redis-py that are not for the callback, as bits. */
enum { OPTION_TARGET = 1, OPTION_RESPONSE = 2, OPTION_BYTES = 4, OPTION_OF_CALLBACK = 8 };

static unsigned option_of(PyObject *name)
{
    static const struct {
        const char *name;
        unsigned option;
    } table[] = {
        {"keys", 0}, /* of reads, for redis-py's client-side cache: not an option */
        {"target_nodes", OPTION_TARGET},
        {"EMPTY_RESPONSE", OPTION_RESPONSE},
        {"NEVER_DECODE", OPTION_BYTES},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (PyUnicode_CompareWithASCIIString(name, table[i].name) == 0)
            return table[i].option;
    return OPTION_OF_CALLBACK;
}

/* The options among the names of arguments. */
static unsigned options_of(PyObject *names)
{
    /* The most frequent name is one object. */
    static PyObject *keys;
    if (!names)
        return 0;
    if (!keys && !(keys = PyUnicode_InternFromString("keys")))
        PyErr_Clear();
    unsigned found = 0;
    Py_ssize_t count = PyTuple_Size(names);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        found |= name == keys ? 0 : option_of(name);
    }
    return found;
}

/* The options for a callback: all but "keys". */
static PyObject *callback_options(PyObject *const *values, PyObject *names)
{
    PyObject *options = PyDict_New();
    for (Py_ssize_t i = 0; options && i < PyTuple_Size(names); i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "keys") == 0)
            continue;
        if (PyDict_SetItem(options, name, values[i]))
            Py_CLEAR(options);
    }
    return options;
}

/* Stores the callback of a command, a new reference, or NULL if it has none. -1 with an exception.
 * The table of redis-py has names in upper case, and accepts others. */
static int find_callback(PyObject *callbacks, PyObject *name, PyObject **found)
{
    *found = PyDict_Check(callbacks) ? PyDict_GetItemWithError(callbacks, name) : NULL;
    Py_XINCREF(*found);
    if (*found || PyErr_Occurred())
        return *found ? 0 : -1;
    if (PyDict_Check(callbacks) && command_name_of(name))
        return 0;
    *found = PyObject_CallMethod(callbacks, "get", "(O)", name);
    if (!*found)
        return -1;
    if (*found == Py_None)
        Py_CLEAR(*found);
    return 0;
}

/* The response of a value: raises an error, else applies the callback, if there is one. Steals the
 * value, which may be NULL. */
static PyObject *response_of(PyObject *value, PyObject *callback, PyObject *options)
{
    PyObject *response = NULL;
    if (value && PyExceptionInstance_Check(value))
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    else if (value && !callback)
        return value;
    else if (value && !options)
        response = PyObject_CallFunctionObjArgs(callback, value, NULL);
    else if (value) {
        PyObject *tuple = PyTuple_Pack(1, value);
        response = tuple ? PyObject_Call(callback, tuple, options) : NULL;
        Py_XDECREF(tuple);
    }
    Py_XDECREF(value);
    return response;
}

/* ---- The client ------------------------------------------------------------------------------- */

/* Runs a command and waits for its reply. NULL with an exception. */
static rdc_reply *run(const rdc_client *client, const arguments *command)
{
    if (before_call())
        return NULL;
    rdc_reply *reply;
    const char *const *argv = command->argv;
    const size_t *lens = command->lens;
    Py_BEGIN_ALLOW_THREADS
    if (arguments_are(command, "GET", 2))
        reply = library.rdc_get(client, argv[1], lens[1]);
    else if (arguments_are(command, "SET", 3))
        reply = library.rdc_set(client, argv[1], lens[1], argv[2], lens[2]);
    else
        reply = library.rdc_command(client, command->argc, argv, lens);
    Py_END_ALLOW_THREADS
    if (after_call()) {
        library.rdc_reply_free(reply);
        return NULL;
    }
    return reply;
}

/* Runs a command that has no unusual options. */
static PyObject *execute(commands_object *self, PyObject *const *args, Py_ssize_t count, PyObject *options)
{
    arguments command;
    PyObject *response = NULL, *callback = NULL;
    rdc_reply *reply = NULL;
    if (arguments_set(&command, encoding_of(self), args, count) == 0)
        reply = run((const rdc_client *)(uintptr_t)self->address, &command);
    /* Looked up after the call, during which another thread may have replaced it. */
    if (reply && find_callback(self->callbacks, args[0], &callback) == 0) {
        if (callback == python.pairs && !options) {
            PyObject *dict = reply_pairs(reply, self->decode);
            bool is_done = dict && PyDict_Check(dict);
            response = response_of(dict, is_done ? NULL : callback, NULL);
        } else {
            response = response_of(reply_value(reply, self->decode), callback, options);
        }
    }
    library.rdc_reply_free(reply);
    Py_XDECREF(callback);
    arguments_free(&command);
    return response;
}

static PyObject *execute_command(commands_object *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    unsigned kinds = options_of(names);
    bool is_usual = count > 0 && !(kinds & ~OPTION_OF_CALLBACK) && is_ready(self) && self->targets;
    if (is_usual && PyDict_GetItemWithError(self->targets, args[0]))
        is_usual = false;
    if (PyErr_Occurred())
        return NULL;
    if (!is_usual)
        return unusual(self, "_execute", args, count, names);
    if (!kinds)
        return execute(self, args, count, NULL);
    PyObject *options = callback_options(args + count, names);
    PyObject *response = options ? execute(self, args, count, options) : NULL;
    Py_XDECREF(options);
    return response;
}

/* ---- Pipelines -------------------------------------------------------------------------------- */

/* Remembers the name of an appended command, and its options or NULL. */
static int remember(commands_object *self, PyObject *name, PyObject *options)
{
    if (!options && self->latest && self->latest_name == name) {
        self->repeats++;
        return 0;
    }
    if (append_repeats(self))
        return -1;
    PyObject *empty = options ? NULL : PyDict_New();
    PyObject *command = options || empty ? PyTuple_Pack(2, name, options ? options : empty) : NULL;
    int failed = !command || PyList_Append(self->commands, command);
    Py_XDECREF(empty);
    if (!failed && !options) {
        PyObject *before = self->latest;
        self->latest = command;
        self->latest_name = name;
        Py_XDECREF(before);
    } else {
        Py_XDECREF(command);
    }
    return failed ? -1 : 0;
}

/* Appends GET, if the key needs no conversion; 1 if it does. */
static int append_plain_get(commands_object *self, PyObject *name, PyObject *key)
{
    char *text;
    Py_ssize_t len;
    if (!self->address || !self->is_utf8 || !self->commands)
        return 1;
    if (PyUnicode_Check(key))
        text = (char *)PyUnicode_AsUTF8AndSize(key, &len);
    else if (!PyBytes_Check(key) || PyBytes_AsStringAndSize(key, &text, &len))
        return 1;
    if (!text || remember(self, name, NULL))
        return -1;
    library.rdc_pipeline_get((rdc_pipeline *)(uintptr_t)self->address, text, (size_t)len);
    return 0;
}

static int append(commands_object *self, PyObject *const *args, Py_ssize_t count, PyObject *options)
{
    rdc_pipeline *pipeline = (rdc_pipeline *)(uintptr_t)self->address;
    arguments command;
    int failed = arguments_set(&command, encoding_of(self), args, count);
    if (!failed)
        failed = remember(self, args[0], options);
    if (!failed) {
        const char *const *argv = command.argv;
        const size_t *lens = command.lens;
        if (arguments_are(&command, "GET", 2))
            library.rdc_pipeline_get(pipeline, argv[1], lens[1]);
        else if (arguments_are(&command, "SET", 3))
            library.rdc_pipeline_set(pipeline, argv[1], lens[1], argv[2], lens[2]);
        else
            library.rdc_pipeline_command(pipeline, command.argc, argv, lens);
    }
    arguments_free(&command);
    return failed;
}

static PyObject *append_command(commands_object *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    unsigned kinds = options_of(names);
    bool is_usual = count > 0 && !(kinds & (OPTION_TARGET | OPTION_RESPONSE)) && is_ready(self);
    if (!is_usual || !self->commands)
        return unusual(self, "_append", args, count, names);
    PyObject *options = NULL;
    if (kinds && !(options = callback_options(args + count, names)))
        return NULL;
    int failed = append(self, args, count, options);
    Py_XDECREF(options);
    if (failed)
        return NULL;
    Py_INCREF(self);
    return (PyObject *)self;
}

static PyObject *append_get(commands_object *self, PyObject *key)
{
    static PyObject *name;
    if (!name && !(name = PyUnicode_InternFromString("GET")))
        return NULL;
    int result = append_plain_get(self, name, key);
    if (result > 0) {
        PyObject *const args[] = {name, key};
        return append_command(self, args, 2, NULL);
    }
    if (result < 0)
        return NULL;
    Py_INCREF(self);
    return (PyObject *)self;
}

/* Calls _convert_response() for each response that is an error or has a callback. */
static PyObject *apply_callbacks(commands_object *self, PyObject *args)
{
    PyObject *responses, *commands, *strict;
    if (!PyArg_ParseTuple(args, "O!O!O:_apply_callbacks", &PyList_Type, &responses, &PyList_Type, &commands, &strict))
        return NULL;
    PyObject *plain = NULL; /* the latest command without a callback */
    Py_ssize_t count = PyList_Size(responses);
    for (Py_ssize_t i = 0; i < count && i < PyList_Size(commands); i++) {
        PyObject *command = PyList_GetItem(commands, i), *response = PyList_GetItem(responses, i), *callback = NULL;
        if (command == plain && (PyBytes_CheckExact(response) || PyUnicode_CheckExact(response)))
            continue;
        PyObject *name = PyTuple_GetItem(command, 0);
        if (!name || find_callback(self->callbacks, name, &callback))
            return NULL;
        plain = callback ? plain : command;
        if (!callback && !PyExceptionInstance_Check(response))
            continue;
        PyObject *none = PyObject_CallMethod((PyObject *)self, "_convert_response", "OnOOO", responses, i, command,
                                             callback ? callback : Py_None, strict);
        Py_XDECREF(callback);
        if (!none)
            return NULL;
        Py_DECREF(none);
    }
    Py_RETURN_NONE;
}

/* ---- The types -------------------------------------------------------------------------------- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef client_methods[] = {
    {"execute_command", FAST(execute_command), METH_FASTCALL | METH_KEYWORDS,
     "execute_command($self, /, *args, **options)\n--\n\n"
     "Runs any command. ``target_nodes`` sets the target: \"primaries\", \"replicas\", \"all\",\n"
     "\"random\", \"slot:N\", \"key:K\", \"host:port\", a ClusterNode, or several of these."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef pipeline_methods[] = {
    {"execute_command", FAST(append_command), METH_FASTCALL | METH_KEYWORDS,
     "execute_command($self, /, *args, **options)\n--\n\n"
     "Appends a command. Between watch() and multi(), runs it at once instead."},
    {"get", (PyCFunction)append_get, METH_O,
     "get($self, name, /)\n--\n\nAppends GET."},
    {"_apply_callbacks", (PyCFunction)apply_callbacks, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *client_type;

static int add_type(PyObject *module, const char *name, PyMethodDef *methods)
{
    PyType_Slot slots[] = {
        {Py_tp_members, members}, {Py_tp_getset, properties},  {Py_tp_methods, methods},
        {Py_tp_clear, clear},     {Py_tp_traverse, traverse}, {Py_tp_dealloc, dealloc},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(commands_object),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    PyObject *type = PyType_FromSpec(&spec);
    int failed = !type || PyModule_AddObjectRef(module, strrchr(name, '.') + 1, type);
    if (!failed && methods == client_methods)
        client_type = (PyTypeObject *)type; /* which the module keeps */
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

PyObject *own_methods(PyObject *module, PyObject *class)
{
    (void)module;
    if (!PyType_Check(class))
        return PyErr_Format(PyExc_TypeError, "own_methods() needs a class");
    PyTypeObject *type = (PyTypeObject *)class;
    bool is_client = PyType_IsSubtype(type, client_type);
    for (PyMethodDef *each = is_client ? client_methods : pipeline_methods; each->ml_name; each++) {
        PyObject *method = PyDescr_NewMethod(type, each);
        int failed = !method || PyObject_SetAttrString(class, each->ml_name, method);
        Py_XDECREF(method);
        if (failed)
            return NULL;
    }
    Py_RETURN_NONE;
}

int commands_add_types(PyObject *module)
{
    return add_type(module, "rediscluster._extension.ClientDispatcher", client_methods) ||
                   add_type(module, "rediscluster._extension.PipelineDispatcher", pipeline_methods)
               ? -1
               : 0;
}
