package rediscluster

/*
#include <rediscluster.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// A cgo call costs as much as a hundred lines of C, so each function here does all of a command: it
// sends the command, waits, and lays the reply out so that Go reads it without further calls.
//
// Handles are passed as integers. To the library they are checked ids and not addresses, and an id
// may equal an address in Go's heap: the garbage collector must not take it for a pointer.

// One value of a reply. The elements of an aggregate are adjacent rows, beginning at row first.
typedef struct {
	const rdc_reply *self;
	const char *text;
	const char *node;
	int64_t num;
	size_t first;
	int32_t kind;
	int16_t code;
	int16_t sent;
} rdcgo_row;

enum { RDCGO_INLINE_TEXT = 512 };

// The result of a call. If reply is 0, the value is complete in text and node, and nothing has to be
// freed. No member is a pointer, so that cgo skips its pointer checks.
typedef struct {
	uintptr_t reply;
	uintptr_t rows;
	size_t count;
	int64_t num;
	int32_t kind;
	int32_t code;
	int32_t sent;
	int32_t node_len;
	char text[RDCGO_INLINE_TEXT];
	char node[128];
} rdcgo_out;

static int rdcgo_has_elements(int32_t kind) {
	return kind == RDC_ARRAY || kind == RDC_MAP || kind == RDC_SET || kind == RDC_PUSH;
}

static void rdcgo_fill_row(rdcgo_row *row, const rdc_reply *reply) {
	memset(row, 0, sizeof *row);
	row->self = reply;
	row->kind = rdc_reply_read(reply, &row->text, &row->num);
	row->node = rdc_reply_node(reply);
	if (row->kind == RDC_ERROR) {
		row->code = (int16_t)rdc_reply_error(reply);
		row->sent = (int16_t)rdc_reply_sent(reply);
	}
}

// Lays out a whole reply level by level, without recursion at any depth.
static rdcgo_row *rdcgo_rows(const rdc_reply *reply, size_t *count) {
	size_t used = 1, capacity = 16 + (size_t)rdc_reply_len(reply);
	rdcgo_row *rows = malloc(capacity * sizeof *rows);
	if (rows == NULL)
		return NULL;
	rdcgo_fill_row(&rows[0], reply);
	for (size_t i = 0; i < used; i++) {
		if (!rdcgo_has_elements(rows[i].kind))
			continue;
		size_t n = (size_t)rows[i].num;
		if (capacity - used < n) {
			capacity = 2 * capacity + n;
			rdcgo_row *grown = realloc(rows, capacity * sizeof *rows);
			if (grown == NULL) {
				free(rows);
				return NULL;
			}
			rows = grown;
		}
		rows[i].first = used;
		for (size_t j = 0; j < n; j++)
			rdcgo_fill_row(&rows[used + j], rdc_reply_at(rows[i].self, j));
		used += n;
	}
	*count = used;
	return rows;
}

static void rdcgo_store(rdc_reply *reply, rdcgo_out *out) {
	const char *text, *node = rdc_reply_node(reply);
	size_t node_len = node == NULL ? 0 : strlen(node);
	out->kind = rdc_reply_read(reply, &text, &out->num);
	out->reply = out->rows = 0;
	out->count = 0;
	if (rdcgo_has_elements(out->kind) || (text != NULL && out->num > RDCGO_INLINE_TEXT) || node_len > sizeof out->node) {
		out->reply = (uintptr_t)reply;
		out->rows = (uintptr_t)rdcgo_rows(reply, &out->count);
		return;
	}
	if (text != NULL)
		memcpy(out->text, text, (size_t)out->num);
	memcpy(out->node, node == NULL ? "" : node, node_len);
	out->node_len = (int32_t)node_len;
	out->code = rdc_reply_error(reply);
	out->sent = rdc_reply_sent(reply);
	rdc_reply_free(reply);
}

// Reads the digits of a length; returns what follows its line.
static const char *rdcgo_length(const char *at, size_t *n) {
	for (*n = 0; *at != '\r'; at++)
		*n = 10 * *n + (size_t)(*at - '0');
	return at + 2;
}

static void rdcgo_command(uintptr_t client, const char *resp, size_t len, rdcgo_out *out) {
	rdcgo_store(rdc_command_resp((const rdc_client *)client, resp, len), out);
}

// The arguments of one encoded command. The caller frees argv; the lengths follow it in the same memory.
static const char **rdcgo_argv(const char *resp, size_t *argc, size_t **lens) {
	const char *at = rdcgo_length(resp + 1, argc);
	const char **argv = malloc(*argc * (sizeof *argv + sizeof **lens));
	if (argv == NULL)
		abort();
	*lens = (size_t *)(argv + *argc);
	for (size_t i = 0; i < *argc; i++) {
		argv[i] = rdcgo_length(at + 1, &(*lens)[i]);
		at = argv[i] + (*lens)[i] + 2;
	}
	return argv;
}

// Sends one encoded command to chosen nodes; where is NULL to explain it instead.
static void rdcgo_command_to(uintptr_t client, const char *where, const char *resp, rdcgo_out *out) {
	size_t argc, *lens;
	const char **argv = rdcgo_argv(resp, &argc, &lens);
	const rdc_client *c = (const rdc_client *)client;
	rdc_reply *reply = where == NULL ? rdc_explain(c, argc, argv, lens) : rdc_command_to(c, where, argc, argv, lens);
	free(argv);
	rdcgo_store(reply, out);
}

// Appends commands whose form this package has checked. A GET is appended as such: the library takes three
// times as long for a command about which it has to find out what it is.
static void rdcgo_append(rdc_pipeline *pipeline, const char *resp, size_t len) {
	static const char get[] = "*2\r\n$3\r\nGET\r\n", lower[] = "*2\r\n$3\r\nget\r\n";
	const char *others = resp, *at = resp, *end = resp + len; // others: not appended yet, up to at
	while (at < end) {
		const char *command = at, *last = NULL;
		size_t args, n = 0;
		at = rdcgo_length(at + 1, &args);
		for (size_t i = 0; i < args; i++) {
			last = rdcgo_length(at + 1, &n);
			at = last + n + 2;
		}
		if (args != 2 || (memcmp(command, get, sizeof get - 1) != 0 && memcmp(command, lower, sizeof lower - 1) != 0))
			continue;
		if (others < command)
			rdc_pipeline_resp(pipeline, others, (size_t)(command - others));
		rdc_pipeline_get(pipeline, last, n);
		others = at;
	}
	if (others < end)
		rdc_pipeline_resp(pipeline, others, (size_t)(end - others));
}

static void rdcgo_pipeline(uintptr_t client, const char *resp, size_t len, int atomic, rdcgo_out *out) {
	rdc_pipeline *pipeline = rdc_pipeline_new((const rdc_client *)client);
	rdcgo_append(pipeline, resp, len);
	rdc_reply *reply = atomic ? rdc_pipeline_execute_atomic(pipeline) : rdc_pipeline_execute(pipeline);
	rdc_pipeline_free(pipeline);
	rdcgo_store(reply, out);
}

enum { RDCGO_STATS, RDCGO_TOPOLOGY, RDCGO_REFRESH };

static void rdcgo_introspect(uintptr_t client, int what, rdcgo_out *out) {
	const rdc_client *c = (const rdc_client *)client;
	rdcgo_store(what == RDCGO_STATS ? rdc_stats(c) : what == RDCGO_TOPOLOGY ? rdc_topology(c) : rdc_refresh(c), out);
}

static void rdcgo_free(rdcgo_out *out) {
	free((void *)out->rows);
	rdc_reply_free((rdc_reply *)out->reply);
	out->reply = out->rows = 0;
}

// settings holds the URL, then names and values of options, each NUL-terminated.
static uintptr_t rdcgo_create(const char *settings, size_t options) {
	rdc_options *all = rdc_options_new();
	rdc_options_set(all, "url", settings);
	for (const char *next = settings + strlen(settings) + 1; options-- > 0;) {
		const char *value = next + strlen(next) + 1;
		rdc_options_set(all, next, value);
		next = value + strlen(value) + 1;
	}
	rdc_client *client = rdc_create_with(all);
	rdc_options_free(all);
	return (uintptr_t)client;
}

static uintptr_t rdcgo_with(uintptr_t client, const char *name, const char *value) {
	return (uintptr_t)rdc_with((const rdc_client *)client, name, value);
}

static int rdcgo_set_credentials(uintptr_t client, const char *user, const char *password) {
	return rdc_set_credentials((const rdc_client *)client, user, password) == RDC_OK;
}

// A derived handle with the same options: read_from is set to its current value.
static uintptr_t rdcgo_derive(uintptr_t client) {
	static const char *const get[] = {"GET", "x"};
	rdc_reply *route = rdc_explain((const rdc_client *)client, 2, get, NULL);
	const char *from = rdc_reply_str(rdc_reply_find(route, "read_from"));
	rdc_client *derived = rdc_with((const rdc_client *)client, "read_from", from == NULL ? "" : from);
	rdc_reply_free(route);
	return (uintptr_t)derived;
}

static uintptr_t rdcgo_readonly(uintptr_t client) {
	return (uintptr_t)rdc_readonly((const rdc_client *)client);
}

static uintptr_t rdcgo_pin(uintptr_t client, const char *key, size_t len) {
	return (uintptr_t)rdc_pin((const rdc_client *)client, key, len);
}

static void rdcgo_interrupt(uintptr_t client) {
	rdc_interrupt((const rdc_client *)client);
}

static const char *rdcgo_error(uintptr_t client) {
	return rdc_client_error((const rdc_client *)client);
}

static void rdcgo_close(uintptr_t client) {
	rdc_close((rdc_client *)client);
}
*/
import "C"

import "unsafe"

// handle is an rdc_client, as an integer.
type handle = C.uintptr_t

// row is one value of a reply, in C memory.
type row = C.rdcgo_row

// out receives the reply of a call.
type out = C.rdcgo_out

// The kinds of replies.
const (
	KindString   Kind = C.RDC_STRING
	KindArray    Kind = C.RDC_ARRAY
	KindInteger  Kind = C.RDC_INTEGER
	KindNil      Kind = C.RDC_NIL
	KindStatus   Kind = C.RDC_STATUS
	KindError    Kind = C.RDC_ERROR
	KindDouble   Kind = C.RDC_DOUBLE
	KindBool     Kind = C.RDC_BOOL
	KindMap      Kind = C.RDC_MAP
	KindSet      Kind = C.RDC_SET
	KindPush     Kind = C.RDC_PUSH
	KindBigNum   Kind = C.RDC_BIGNUM
	KindVerbatim Kind = C.RDC_VERBATIM
)

// The error codes. Each is itself an error, for errors.Is.
const (
	ErrServer      Code = C.RDC_ERR_SERVER      // the server replied with an error, whose code begins the message
	ErrInvalid     Code = C.RDC_ERR_INVALID     // a bad argument, option or URL; nothing was sent
	ErrConnect     Code = C.RDC_ERR_CONNECT     // no node was reachable; nothing was sent
	ErrIO          Code = C.RDC_ERR_IO          // the connection broke
	ErrTimeout     Code = C.RDC_ERR_TIMEOUT     // the timeout of the call or the deadline of its context passed
	ErrProtocol    Code = C.RDC_ERR_PROTOCOL    // the peer sent something other than RESP, or exceeded a limit
	ErrAuth        Code = C.RDC_ERR_AUTH        // the server refused the credentials, or they lack a permission
	ErrDown        Code = C.RDC_ERR_DOWN        // the cluster is down, or no node serves the slot
	ErrCrossSlot   Code = C.RDC_ERR_CROSSSLOT   // the keys are in different slots; nothing was sent
	ErrRedirects   Code = C.RDC_ERR_REDIRECTS   // more than max_redirects redirections
	ErrReadOnly    Code = C.RDC_ERR_READONLY    // a write through a read-only client; nothing was sent
	ErrInterrupted Code = C.RDC_ERR_INTERRUPTED // the context was cancelled
	ErrInternal    Code = C.RDC_ERR_INTERNAL    // a bug in the library, caught at the C interface
	ErrClosed      Code = C.RDC_ERR_CLOSED      // the client was closed
	ErrTLS         Code = C.RDC_ERR_TLS         // a certificate was rejected, or the TLS session failed
	ErrQueueFull   Code = C.RDC_ERR_QUEUE_FULL  // a queue for an event loop is full; this package uses none
)

func nativeCodeName(code Code) string {
	return C.GoString(C.rdc_error_name(C.int32_t(code)))
}

func nativeVersion() (loaded, compiled int) {
	return int(C.rdc_version_number()),
		1000000*C.RDC_VERSION_MAJOR + 1000*C.RDC_VERSION_MINOR + C.RDC_VERSION_PATCH
}

// nativeCreate takes the URL, then names and values of options, each NUL-terminated.
func nativeCreate(settings []byte, options int) handle {
	return C.rdcgo_create((*C.char)(unsafe.Pointer(&settings[0])), C.size_t(options))
}

// nativeWith takes a NUL-terminated name and value.
func nativeWith(client handle, name, value []byte) handle {
	return C.rdcgo_with(client, (*C.char)(unsafe.Pointer(&name[0])), (*C.char)(unsafe.Pointer(&value[0])))
}

// nativeSetCredentials takes a NUL-terminated user and password; false if they are not valid.
func nativeSetCredentials(client handle, user, password []byte) bool {
	cUser, cPassword := (*C.char)(unsafe.Pointer(&user[0])), (*C.char)(unsafe.Pointer(&password[0]))
	return C.rdcgo_set_credentials(client, cUser, cPassword) != 0
}

// nativePin takes a key that may be empty.
func nativePin(client handle, key string) handle {
	text := append([]byte(key), 0) // there is a first byte
	return C.rdcgo_pin(client, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(key)))
}

func nativeInterrupt(client handle)       { C.rdcgo_interrupt(client) }
func nativeDerive(client handle) handle   { return C.rdcgo_derive(client) }
func nativeReadonly(client handle) handle { return C.rdcgo_readonly(client) }
func nativeError(client handle) string    { return C.GoString(C.rdcgo_error(client)) }
func nativeClose(client handle)           { C.rdcgo_close(client) }

func nativeCommand(client handle, resp []byte, out *out) {
	C.rdcgo_command(client, (*C.char)(unsafe.Pointer(&resp[0])), C.size_t(len(resp)), out)
}

// nativeCommandTo takes a NUL-terminated destination.
func nativeCommandTo(client handle, where, resp []byte, out *out) {
	C.rdcgo_command_to(client, (*C.char)(unsafe.Pointer(&where[0])), (*C.char)(unsafe.Pointer(&resp[0])), out)
}

func nativeExplain(client handle, resp []byte, out *out) {
	C.rdcgo_command_to(client, nil, (*C.char)(unsafe.Pointer(&resp[0])), out)
}

func nativePipeline(client handle, resp []byte, atomic bool, out *out) {
	var flag C.int
	if atomic {
		flag = 1
	}
	C.rdcgo_pipeline(client, (*C.char)(unsafe.Pointer(&resp[0])), C.size_t(len(resp)), flag, out)
}

func nativeStats(client handle, out *out)    { C.rdcgo_introspect(client, C.RDCGO_STATS, out) }
func nativeTopology(client handle, out *out) { C.rdcgo_introspect(client, C.RDCGO_TOPOLOGY, out) }
func nativeRefresh(client handle, out *out)  { C.rdcgo_introspect(client, C.RDCGO_REFRESH, out) }

func nativeFree(out *out) { C.rdcgo_free(out) }

// nativeRows returns the values of a reply that did not fit in out. They are valid until nativeFree.
// It returns nil if out of memory.
func nativeRows(out *out) []row {
	rows := *(**row)(unsafe.Pointer(&out.rows))
	if rows == nil {
		return nil
	}
	return unsafe.Slice(rows, int(out.count))
}

// nativeShort returns the text and the node of a reply that did fit. They are valid until the next
// call.
func nativeShort(out *out) (text, node []byte) {
	if k := Kind(out.kind); k.hasText() || k == KindError {
		text = unsafe.Slice((*byte)(unsafe.Pointer(&out.text[0])), int(out.num))
	}
	return text, unsafe.Slice((*byte)(unsafe.Pointer(&out.node[0])), int(out.node_len))
}

// nativeText returns the text of a row. It is valid until nativeFree.
func nativeText(r *row) []byte {
	if r.text == nil {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(r.text)), int(r.num))
}

// nativeNode returns the node of a row. It is valid until nativeFree. It costs a call into C.
func nativeNode(r *row) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(r.node)), int(C.strlen(r.node)))
}
