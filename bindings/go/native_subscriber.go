package rediscluster

/*
#include <rediscluster.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// As in native.go, one call into C does as much as possible: it takes all pushes that are there, up to
// the size of the inbox, and copies their texts.

enum { RDCGO_PUSHES = 64, RDCGO_PUSH_TEXT = 16384, RDCGO_PARTS = 5, RDCGO_NODE = 128 };

// One push. The text of part i begins at at[i]; its length is -1 for nil and for a number.
typedef struct {
	int64_t num;
	int32_t parts;
	int32_t node_len; // the node's name follows the last part
	uint32_t at[RDCGO_PARTS];
	int32_t len[RDCGO_PARTS];
} rdcgo_push;

// The pushes of one call. A reply that is an error, or does not fit, is held, and is the next to read.
// No member is a pointer, so that cgo skips its pointer checks.
typedef struct {
	uintptr_t held;
	size_t count;
	size_t used;
	rdcgo_push pushes[RDCGO_PUSHES];
	char text[RDCGO_PUSH_TEXT];
} rdcgo_inbox;

static uintptr_t rdcgo_subscriber_new(uintptr_t client) {
	return (uintptr_t)rdc_subscriber_new((const rdc_client *)client);
}

static int32_t rdcgo_subscriber_fd(uintptr_t subscriber) {
	return rdc_subscriber_fd((const rdc_subscriber *)subscriber);
}

static void rdcgo_subscriber_free(uintptr_t subscriber) {
	rdc_subscriber_free((rdc_subscriber *)subscriber);
}

// text holds the words one after the other. Returns the reply if it is an error, otherwise 0.
static uintptr_t rdcgo_subscriber_command(uintptr_t subscriber, size_t argc, const char *text, const size_t *lens) {
	const char **argv = malloc((argc + 1) * sizeof *argv);
	if (argv == NULL)
		abort();
	for (size_t i = 0; i < argc; i++) {
		argv[i] = text;
		text += lens[i];
	}
	rdc_reply *reply = rdc_subscriber_command((rdc_subscriber *)subscriber, argc, argv, lens);
	free(argv);
	if (rdc_reply_error(reply) != RDC_OK)
		return (uintptr_t)reply;
	rdc_reply_free(reply);
	return 0;
}

// Copies a push into the inbox. Returns 0 if it does not fit.
static int rdcgo_pack(const rdc_reply *reply, rdcgo_inbox *inbox) {
	int32_t kinds[RDCGO_PARTS];
	const char *texts[RDCGO_PARTS], *node = rdc_reply_node(reply);
	int64_t nums[RDCGO_PARTS];
	size_t n = rdc_reply_read_array(reply, 0, RDCGO_PARTS, kinds, texts, nums), used = inbox->used;
	size_t node_len = node == NULL ? 0 : strlen(node);
	rdcgo_push *push = &inbox->pushes[inbox->count];
	if (node_len > RDCGO_NODE || sizeof inbox->text - used < node_len)
		return 0;
	push->num = 0;
	push->parts = (int32_t)n;
	push->node_len = (int32_t)node_len;
	for (size_t i = 0; i < n; i++) {
		push->at[i] = (uint32_t)used;
		push->len[i] = -1;
		if (kinds[i] == RDC_INTEGER) {
			push->num = nums[i];
		} else if (texts[i] != NULL) {
			if ((uint64_t)nums[i] > sizeof inbox->text - used - node_len)
				return 0;
			memcpy(inbox->text + used, texts[i], (size_t)nums[i]);
			push->len[i] = (int32_t)nums[i];
			used += (size_t)nums[i];
		}
	}
	memcpy(inbox->text + used, node == NULL ? "" : node, node_len);
	inbox->used = used + node_len;
	inbox->count++;
	return 1;
}

static void rdcgo_subscriber_next(uintptr_t subscriber, rdcgo_inbox *inbox) {
	inbox->count = inbox->used = 0;
	while (inbox->count < RDCGO_PUSHES) {
		rdc_reply *reply = rdc_subscriber_next((rdc_subscriber *)subscriber, 0);
		int32_t kind = rdc_reply_type(reply);
		if (kind != RDC_NIL && !(kind == RDC_PUSH && rdcgo_pack(reply, inbox))) {
			inbox->held = (uintptr_t)reply;
			return;
		}
		rdc_reply_free(reply);
		if (kind == RDC_NIL)
			return;
	}
}

// One part of a held push, or for i < 0 the held reply itself. Returns its kind.
static int32_t rdcgo_held_part(uintptr_t held, int i, uintptr_t *text, int64_t *num) {
	const char *at = NULL;
	const rdc_reply *reply = (const rdc_reply *)held;
	int32_t kind = rdc_reply_read(i < 0 ? reply : rdc_reply_at(reply, (size_t)i), &at, num);
	*text = (uintptr_t)at;
	return kind;
}

static const char *rdcgo_held_node(uintptr_t held, int32_t *code, int32_t *sent) {
	const char *node = rdc_reply_node((const rdc_reply *)held);
	*code = rdc_reply_error((const rdc_reply *)held);
	*sent = rdc_reply_sent((const rdc_reply *)held);
	return node == NULL ? "" : node;
}

static void rdcgo_held_free(uintptr_t held) {
	rdc_reply_free((rdc_reply *)held);
}
*/
import "C"

import "unsafe"

// subscriber is an rdc_subscriber, as an integer; held is a reply that did not fit into an inbox.
type (
	subscriber = C.uintptr_t
	heldReply  = C.uintptr_t
	inbox      = C.rdcgo_inbox
)

func nativeSubscriberNew(client handle) subscriber { return C.rdcgo_subscriber_new(client) }
func nativeSubscriberFd(s subscriber) int          { return int(C.rdcgo_subscriber_fd(s)) }
func nativeSubscriberFree(s subscriber)            { C.rdcgo_subscriber_free(s) }

// nativeSubscriberCommand runs SUBSCRIBE and its like, without waiting.
func nativeSubscriberCommand(s subscriber, words []string) *Error {
	lens := make([]C.size_t, len(words))
	var text []byte
	for i, word := range words {
		lens[i] = C.size_t(len(word))
		text = append(text, word...)
	}
	text = append(text, 0) // there is a first byte
	reply := C.rdcgo_subscriber_command(s, C.size_t(len(words)), (*C.char)(unsafe.Pointer(&text[0])), &lens[0])
	if reply == 0 {
		return nil
	}
	defer C.rdcgo_held_free(reply)
	return nativeHeldError(reply)
}

// nativeSubscriberNext takes what is there, without waiting.
func nativeSubscriberNext(s subscriber, in *inbox) { C.rdcgo_subscriber_next(s, in) }

// nativePush returns a push of the inbox.
func nativePush(in *inbox, i int) push {
	c := &in.pushes[i]
	n := int(c.parts)
	p := push{num: int64(c.num), parts: n}
	var size int
	for part := 0; part < n; part++ {
		if c.len[part] > 0 {
			size += int(c.len[part])
		}
	}
	if n == 0 {
		return p
	}
	// The texts are adjacent: one allocation for all.
	begin := int(c.at[0])
	all := string(unsafe.Slice((*byte)(unsafe.Pointer(&in.text[0])), len(in.text))[begin : begin+size+int(c.node_len)])
	for part := 0; part < n; part++ {
		if length := int(c.len[part]); length >= 0 {
			at := int(c.at[part]) - begin
			p.text[part] = all[at : at+length]
		}
	}
	p.node = all[size:]
	return p
}

// nativeHeld returns the push or the error that an inbox holds, and frees it. There is none if both
// are empty.
func nativeHeld(in *inbox) (push, *Error) {
	held := in.held
	if held == 0 {
		return push{}, nil
	}
	in.held = 0
	defer C.rdcgo_held_free(held)
	var text C.uintptr_t
	var num C.int64_t
	if Kind(C.rdcgo_held_part(held, -1, &text, &num)) == KindError {
		return push{}, nativeHeldError(held)
	}
	var code, sent C.int32_t
	p := push{parts: int(num), node: C.GoString(C.rdcgo_held_node(held, &code, &sent))}
	if p.parts > len(p.text) {
		p.parts = len(p.text)
	}
	for i := 0; i < p.parts; i++ {
		switch kind := Kind(C.rdcgo_held_part(held, C.int(i), &text, &num)); {
		case kind == KindInteger:
			p.num = int64(num)
		case text != 0:
			p.text[i] = string(unsafe.Slice(*(**byte)(unsafe.Pointer(&text)), int(num)))
		}
	}
	return p, nil
}

func nativeHeldError(held heldReply) *Error {
	var text C.uintptr_t
	var num C.int64_t
	var code, sent C.int32_t
	C.rdcgo_held_part(held, -1, &text, &num)
	node := C.GoString(C.rdcgo_held_node(held, &code, &sent))
	message := string(unsafe.Slice(*(**byte)(unsafe.Pointer(&text)), int(num)))
	return &Error{Code: Code(code), Message: message, Node: node, Sent: sent != 0}
}

// nativeHeldFree frees what an inbox still holds.
func nativeHeldFree(in *inbox) {
	if in.held != 0 {
		C.rdcgo_held_free(in.held)
		in.held = 0
	}
}
