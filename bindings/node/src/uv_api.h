/*
 * The functions of libuv 1.x that the addon uses. Every Node.js release exports them, and their
 * ABI is stable since libuv 1.19, so the addon needs no header of a particular Node.js version.
 * The declarations are those of uv.h, word for word: test/package.test.js compiles both together
 * where uv.h is installed. The structures stay opaque, and uv_handle_size() tells their sizes.
 */
#ifndef REDISCLUSTER_UV_API_H
#define REDISCLUSTER_UV_API_H

#include <stddef.h>

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_poll_s uv_poll_t;
typedef struct uv_prepare_s uv_prepare_t;

typedef void (*uv_close_cb)(uv_handle_t *handle);
typedef void (*uv_poll_cb)(uv_poll_t *handle, int status, int events);
typedef void (*uv_prepare_cb)(uv_prepare_t *handle);

#ifndef UV_VERSION_MAJOR
/* Values of uv_handle_type and uv_poll_event. */
enum { UV_POLL = 8, UV_PREPARE = 9 };
enum { UV_READABLE = 1 };
#define uv_handle_type int
#endif

int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd);
int uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb);
int uv_prepare_init(uv_loop_t *loop, uv_prepare_t *prepare);
int uv_prepare_start(uv_prepare_t *prepare, uv_prepare_cb cb);
int uv_prepare_stop(uv_prepare_t *prepare);
size_t uv_handle_size(uv_handle_type type);
void *uv_handle_get_data(const uv_handle_t *handle);
void uv_handle_set_data(uv_handle_t *handle, void *data);
void uv_ref(uv_handle_t *handle);
void uv_unref(uv_handle_t *handle);
void uv_close(uv_handle_t *handle, uv_close_cb close_cb);

#endif
