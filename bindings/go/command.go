package rediscluster

import (
	"context"
	"strings"
	"sync"
	"time"
)

// command is one call: the encoded request, and the memory for its reply.
type command struct {
	encoder
	out       out
	unbatched bool // never sent in a batch with others
	encoded   bool // an aggregate is to become an encoded value

	// The fields of batcher.
	inFlightBatch
	queue      *queue // nil when not queued
	prev, next *command
	deadline   time.Time
	result     chan Value // receives one value if the command was queued
}

// Commands with a larger buffer are not reused, so that a rare large command does not hold memory.
const maxReusedBuffer = 64 << 10

var commands = sync.Pool{New: func() any {
	return &command{encoder: encoder{buf: make([]byte, 0, 256)}, result: make(chan Value, 1)}
}}

func newCommand() *command { return commands.Get().(*command) }

func (cmd *command) free() {
	if cap(cmd.buf) > maxReusedBuffer {
		return
	}
	cmd.encoder = encoder{buf: cmd.buf[:0]}
	cmd.unbatched, cmd.encoded, cmd.deadline = false, false, time.Time{}
	commands.Put(cmd)
}

// execute runs the command in one call into C, which usually returns the decoded reply too.
func (cmd *command) execute(h handle) Value {
	nativeCommand(h, cmd.buf, &cmd.out)
	return takeValue(&cmd.out, cmd.encoded)
}

// run executes a command, in a batch or alone, and frees it. Every command goes through it.
func (c *Client) run(ctx context.Context, cmd *command) Value {
	if err := cmd.err; err != nil {
		cmd.free()
		return errorValue(err)
	}
	if err := ctx.Err(); err != nil {
		cmd.free()
		return errorValue(contextError(err, false))
	}
	cmd.deadline, _ = ctx.Deadline()
	if !cmd.unbatched && !c.pinned {
		return c.batcher.run(ctx, cmd)
	}
	v := c.runAlone(ctx, cmd)
	cmd.free()
	return v
}

// runAlone executes a command on the calling goroutine.
func (c *Client) runAlone(ctx context.Context, cmd *command) Value {
	if ctx.Done() == nil {
		return cmd.execute(c.handle)
	}
	return c.withContext(ctx, cmd.execute)
}

// mayBlock reports whether a command may be a blocking one (BLPOP, XREAD, WAIT), by its first
// letters. Blocking commands are not batched. A false positive occupies a thread for the time of a
// call. A false negative costs a second attempt: the library refuses a blocking command in a
// pipeline.
func mayBlock(name any) bool {
	var text string
	switch name := name.(type) {
	case string:
		text = name
	case Encoded:
		text = string(name.name())
	}
	if text == "" {
		return true
	}
	switch text[0] {
	case 'B', 'b', 'W', 'w':
		return true
	case 'X', 'x':
		return len(text) >= 5 && strings.EqualFold(text[:5], "XREAD")
	}
	return false
}
