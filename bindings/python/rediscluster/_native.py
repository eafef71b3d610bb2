"""The declarations of include/rediscluster.h, and the loaded library.

A test compares the declarations with the header.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from cffi import FFI

DECLARATIONS = """
typedef struct rdc_client rdc_client;
typedef struct rdc_options rdc_options;
typedef struct rdc_pipeline rdc_pipeline;
typedef struct rdc_queue rdc_queue;
typedef struct rdc_reply rdc_reply;
typedef struct rdc_subscriber rdc_subscriber;
typedef void (*rdc_log_fn)(void *arg, int32_t level, const char *message);
typedef int32_t (*rdc_wait_fn)(void *arg);
rdc_client *rdc_create(const char *url);
rdc_client *rdc_create_with(const rdc_options *options);
const char *rdc_client_error(const rdc_client *client);
rdc_client *rdc_with(const rdc_client *client, const char *option, const char *value);
rdc_client *rdc_readonly(const rdc_client *client);
rdc_client *rdc_pin(const rdc_client *client, const char *key, size_t key_len);
int32_t rdc_set_credentials(const rdc_client *client, const char *user, const char *password);
void rdc_interrupt(const rdc_client *client);
void rdc_close(rdc_client *client);
rdc_options *rdc_options_new(void);
int32_t rdc_options_set(rdc_options *options, const char *name, const char *value);
rdc_reply *rdc_options_list(void);
void rdc_options_free(rdc_options *options);
rdc_reply *rdc_command(const rdc_client *client, size_t argc, const char *const *argv, const
    size_t *lens);
rdc_reply *rdc_command_resp(const rdc_client *client, const char *resp, size_t len);
rdc_reply *rdc_command_to(const rdc_client *client, const char *where, size_t argc, const char
    *const *argv, const size_t *lens);
rdc_reply *rdc_get(const rdc_client *client, const char *key, size_t key_len);
rdc_reply *rdc_set(const rdc_client *client, const char *key, size_t key_len, const char *value,
    size_t value_len);
rdc_reply *rdc_set_px(const rdc_client *client, const char *key, size_t key_len, const char
    *value, size_t value_len, int64_t ttl_ms);
rdc_reply *rdc_del(const rdc_client *client, const char *key, size_t key_len);
rdc_reply *rdc_exists(const rdc_client *client, const char *key, size_t key_len);
rdc_reply *rdc_incrby(const rdc_client *client, const char *key, size_t key_len, int64_t by);
rdc_reply *rdc_pexpire(const rdc_client *client, const char *key, size_t key_len, int64_t
    ttl_ms);
rdc_pipeline *rdc_pipeline_new(const rdc_client *client);
void rdc_pipeline_command(rdc_pipeline *pipeline, size_t argc, const char *const *argv, const
    size_t *lens);
void rdc_pipeline_resp(rdc_pipeline *pipeline, const char *resp, size_t len);
void rdc_pipeline_get(rdc_pipeline *pipeline, const char *key, size_t key_len);
void rdc_pipeline_set(rdc_pipeline *pipeline, const char *key, size_t key_len, const char
    *value, size_t value_len);
void rdc_pipeline_set_px(rdc_pipeline *pipeline, const char *key, size_t key_len, const char
    *value, size_t value_len, int64_t ttl_ms);
void rdc_pipeline_del(rdc_pipeline *pipeline, const char *key, size_t key_len);
size_t rdc_pipeline_len(const rdc_pipeline *pipeline);
rdc_reply *rdc_pipeline_execute(rdc_pipeline *pipeline);
rdc_reply *rdc_pipeline_execute_atomic(rdc_pipeline *pipeline);
void rdc_pipeline_clear(rdc_pipeline *pipeline);
void rdc_pipeline_free(rdc_pipeline *pipeline);
rdc_subscriber *rdc_subscriber_new(const rdc_client *client);
rdc_reply *rdc_subscriber_command(rdc_subscriber *subscriber, size_t argc, const char *const
    *argv, const size_t *lens);
rdc_reply *rdc_subscriber_next(rdc_subscriber *subscriber, int32_t timeout_ms);
void rdc_subscriber_wake(const rdc_subscriber *subscriber);
int32_t rdc_subscriber_fd(const rdc_subscriber *subscriber);
void rdc_subscriber_free(rdc_subscriber *subscriber);
rdc_queue *rdc_queue_new(const rdc_client *client);
void rdc_queue_command(rdc_queue *queue, uint64_t tag, size_t argc, const char *const *argv,
    const size_t *lens);
void rdc_queue_resp(rdc_queue *queue, uint64_t tag, const char *resp, size_t len);
void rdc_queue_command_to(rdc_queue *queue, uint64_t tag, const char *where, size_t argc, const
    char *const *argv, const size_t *lens);
void rdc_queue_pipeline(rdc_queue *queue, uint64_t tag, rdc_pipeline *pipeline);
void rdc_queue_pipeline_atomic(rdc_queue *queue, uint64_t tag, rdc_pipeline *pipeline);
int32_t rdc_queue_fd(const rdc_queue *queue);
int32_t rdc_queue_run(rdc_queue *queue, int32_t timeout_ms);
rdc_reply *rdc_queue_next(rdc_queue *queue, uint64_t *tag);
void rdc_queue_cancel(rdc_queue *queue, uint64_t tag);
size_t rdc_queue_len(const rdc_queue *queue);
void rdc_queue_wake(const rdc_queue *queue);
void rdc_queue_free(rdc_queue *queue);
int32_t rdc_reply_type(const rdc_reply *reply);
int32_t rdc_reply_error(const rdc_reply *reply);
const char *rdc_reply_str(const rdc_reply *reply);
size_t rdc_reply_len(const rdc_reply *reply);
int64_t rdc_reply_int(const rdc_reply *reply);
double rdc_reply_double(const rdc_reply *reply);
const rdc_reply *rdc_reply_at(const rdc_reply *reply, size_t i);
const rdc_reply *rdc_reply_find(const rdc_reply *map, const char *key);
const char *rdc_reply_node(const rdc_reply *reply);
int32_t rdc_reply_sent(const rdc_reply *reply);
int32_t rdc_reply_read(const rdc_reply *reply, const char **str, int64_t *num);
size_t rdc_reply_read_array(const rdc_reply *reply, size_t first, size_t n, int32_t *types,
    const char **strs, int64_t *nums);
int32_t rdc_reply_free(rdc_reply *reply);
rdc_reply *rdc_topology(const rdc_client *client);
rdc_reply *rdc_stats(const rdc_client *client);
rdc_reply *rdc_refresh(const rdc_client *client);
int32_t rdc_key_slot(const char *key, size_t len);
rdc_reply *rdc_explain(const rdc_client *client, size_t argc, const char *const *argv, const
    size_t *lens);
const char *rdc_error_name(int32_t error);
const char *rdc_version(void);
int32_t rdc_version_number(void);
void rdc_set_logger(rdc_log_fn fn, void *arg, int32_t level);
void rdc_set_wait_callback(rdc_wait_fn fn, void *arg);
"""

RDC_STRING = 1
RDC_ARRAY = 2
RDC_INTEGER = 3
RDC_NIL = 4
RDC_STATUS = 5
RDC_ERROR = 6
RDC_DOUBLE = 7
RDC_BOOL = 8
RDC_MAP = 9
RDC_SET = 10
RDC_PUSH = 12
RDC_BIGNUM = 13
RDC_VERBATIM = 14
RDC_OK = 0
RDC_ERR_SERVER = 1
RDC_ERR_INVALID = 2
RDC_ERR_CONNECT = 3
RDC_ERR_IO = 4
RDC_ERR_TIMEOUT = 5
RDC_ERR_PROTOCOL = 6
RDC_ERR_AUTH = 7
RDC_ERR_DOWN = 8
RDC_ERR_CROSSSLOT = 9
RDC_ERR_REDIRECTS = 10
RDC_ERR_READONLY = 11
RDC_ERR_INTERRUPTED = 12
RDC_ERR_INTERNAL = 13
RDC_ERR_CLOSED = 14
RDC_ERR_TLS = 15
RDC_ERR_QUEUE_FULL = 16

# The first version with all these functions: 1000000 * major + 1000 * minor + patch.
MIN_VERSION = 1000

ffi: Any = FFI()
ffi.cdef(DECLARATIONS)


def _load() -> Any:
    """Loads the library at RDC_LIBRARY if set; else the file in the wheel; else the system's."""
    chosen = os.environ.get("RDC_LIBRARY")
    is_macos = sys.platform == "darwin"
    bundled = Path(__file__).with_name("librediscluster.0.dylib" if is_macos else "librediscluster.so.0")
    name = chosen or (str(bundled) if bundled.exists() else bundled.name)
    try:
        library = ffi.dlopen(name)
    except OSError as error:
        raise ImportError(
            f"cannot load librediscluster: {error}; install it, or set RDC_LIBRARY to its path"
        ) from None
    found = library.rdc_version_number()
    if not MIN_VERSION <= found < 1000000:
        version = ffi.string(library.rdc_version()).decode()
        raise ImportError(
            f"{name} is librediscluster {version}, but this package needs 0.{MIN_VERSION // 1000} "
            "or a later 0.x: install that version, or set RDC_LIBRARY to its path"
        )
    return library


lib: Any = _load()
