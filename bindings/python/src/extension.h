/* The C extension of the package rediscluster: what its files share.
 *
 * It makes the frequent calls of the package cheap, and nothing else: the package does the same with
 * cffi where the extension is missing. The library is loaded by _native.py, which passes the
 * addresses of its functions, so that both use the same library.
 *
 * Only the stable ABI is used: one binary serves CPython 3.10 and all later versions. */
#ifndef REDISCLUSTER_EXTENSION_H
#define REDISCLUSTER_EXTENSION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <rediscluster.h>
#include <stdbool.h>
#include <structmember.h>

/* The functions of the library that the extension calls. */
#define LIBRARY_FUNCTIONS(F)                                                                       \
    F(rdc_command)                                                                                 \
    F(rdc_get)                                                                                     \
    F(rdc_set)                                                                                     \
    F(rdc_pipeline_command)                                                                        \
    F(rdc_pipeline_get)                                                                            \
    F(rdc_pipeline_set)                                                                            \
    F(rdc_queue_command)                                                                           \
    F(rdc_queue_next)                                                                              \
    F(rdc_reply_type)                                                                              \
    F(rdc_reply_error)                                                                             \
    F(rdc_reply_len)                                                                               \
    F(rdc_reply_at)                                                                                \
    F(rdc_reply_node)                                                                              \
    F(rdc_reply_sent)                                                                              \
    F(rdc_reply_read)                                                                              \
    F(rdc_reply_read_array)                                                                        \
    F(rdc_reply_free)                                                                              \
    F(rdc_error_name)

typedef struct {
#define MEMBER(name) __typeof__(name) *name;
    LIBRARY_FUNCTIONS(MEMBER)
#undef MEMBER
} library_functions;

extern library_functions library;

/* The Python objects that the extension needs. setup() stores them; they belong to the package's
 * modules. */
#define PYTHON_OBJECTS(O)                                                                          \
    O(make_error)         /* exceptions.error */                                                   \
    O(bad_argument)       /* _convert.bad_argument */                                              \
    O(pairs)              /* _convert.pairs */                                                     \
    O(as_text)            /* bytes.decode: decodes as strict UTF-8 */                              \
    O(install_callback)   /* _wait_callback.install */                                             \
    O(pending)            /* _wait_callback.pending */                                             \
    O(take_pending)       /* _wait_callback.take_pending */

typedef struct {
#define MEMBER(name) PyObject *name;
    PYTHON_OBJECTS(MEMBER)
#undef MEMBER
} python_objects;

extern python_objects python;

/* ---- call.c: waiting without the GIL ---------------------------------------------------------- */

/* To be called before a call that may wait: installs the wait callback if it is due. -1 with an
 * exception. */
int before_call(void);

/* To be called after it: -1 with the exception that a signal handler raised during the call. */
int after_call(void);

/* From now on, before_call() has nothing to do. */
void callback_installed(void);

/* ---- names.c: names of commands --------------------------------------------------------------- */

/* The name of a command that is a str without a space and a lower-case letter, as it is sent. */
typedef struct {
    PyObject *object;
    const char *text;
    size_t len;
} command_name;

/* The name that a str is, or NULL. The result is valid until the next call. */
const command_name *command_name_of(PyObject *object);

/* ---- arguments.c: Python objects as arguments of a command ------------------------------------ */

enum { INLINE_ARGUMENTS = 16, NUMBER_TEXT = 24 };

/* A command as rdc_command() takes it. The objects of the arguments must outlive it. */
typedef struct {
    size_t argc;
    const char **argv;
    size_t *lens;
    const char *inline_argv[INLINE_ARGUMENTS];
    size_t inline_lens[INLINE_ARGUMENTS];
    /* New objects whose bytes are arguments, or NULL. */
    PyObject *owned;
} arguments;

/* How texts become bytes: `encoding` is a tuple of an encoding and an error handler, and `is_utf8`
 * is true for ("utf-8", "strict"). */
typedef struct {
    PyObject *encoding;
    bool is_utf8;
} text_encoding;

/* Converts the arguments of execute_command(); -1 with an exception. Free them in any case. */
int arguments_set(arguments *self, text_encoding encoding, PyObject *const *values, Py_ssize_t count);
void arguments_free(arguments *self);
/* Whether the command has this name, in upper case, and this number of arguments. */
bool arguments_are(const arguments *self, const char *name, size_t argc);

/* ---- reply.c: replies as Python objects ------------------------------------------------------- */

/* The value of a reply, or NULL with an exception. An error of the library is a value. `decode` is
 * None, or a function that decodes the bytes of a text. */
PyObject *reply_value(const rdc_reply *reply, PyObject *decode);
/* The same as a dict, for an array of keys and values. Other replies as reply_value(). */
PyObject *reply_pairs(const rdc_reply *reply, PyObject *decode);

/* ---- commands.c: the base classes of the client and of its pipelines -------------------------- */

int commands_add_types(PyObject *module);
/* own_methods(class): gives a subclass methods of its own. CPython calls a method faster whose class is
 * exactly that of the object. */
PyObject *own_methods(PyObject *module, PyObject *class);

/* ---- queue.c: the queue of an event loop ------------------------------------------------------ */

/* queue_submit(address, tag, arguments, encoding): submits a command. The encoding is a tuple, or None
 * for strict UTF-8. */
PyObject *queue_submit(PyObject *module, PyObject *args);
/* queue_take(address, waiting, limit, plain_read, read_at): takes complete replies, and gives each to
 * the future that `waiting` has for its tag. Returns their number. */
PyObject *queue_take(PyObject *module, PyObject *args);

#endif
