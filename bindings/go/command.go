package rediscluster

import (
	"context"
	"strings"
	"sync"
	"time"
)

// command is one call: what it sends, and where its reply is left.
type command struct {
	buf   []byte
	out   out
	alone bool // never sent together with others

	// For its time with gather.
	ride
	queue      *queue // nil when not in one
	prev, next *command
	deadline   time.Time
	fate       chan Value // told once to a command that was in a queue
}

// Memory of this size is kept for the next call; a rare large command's is not.
const keptBuffer = 64 << 10

var commands = sync.Pool{New: func() any {
	return &command{buf: make([]byte, 0, 256), fate: make(chan Value, 1)}
}}

func newCommand() *command { return commands.Get().(*command) }

func (cmd *command) free() {
	if cap(cmd.buf) > keptBuffer {
		return
	}
	cmd.buf, cmd.alone, cmd.deadline = cmd.buf[:0], false, time.Time{}
	commands.Put(cmd)
}

// direct is one crossing: the command, and as a rule its reply too.
func (cmd *command) direct(h handle) Value {
	nativeCommand(h, cmd.buf, &cmd.out)
	return take(&cmd.out)
}

// run is what every command comes through, and frees it.
func (c *Client) run(ctx context.Context, cmd *command) Value {
	if err := ctx.Err(); err != nil {
		cmd.free()
		return failed(ended(err, false))
	}
	cmd.deadline, _ = ctx.Deadline()
	if !cmd.alone {
		return c.gather.run(ctx, cmd)
	}
	v := c.alone(ctx, cmd)
	cmd.free()
	return v
}

// alone runs a command on the goroutine that called.
func (c *Client) alone(ctx context.Context, cmd *command) Value {
	if ctx.Done() == nil {
		return cmd.direct(c.handle)
	}
	return c.bounded(ctx, cmd.direct)
}

// mayBlock says whether a command might wait by itself for long, and should not be sent together
// with others. To be wrong costs a thread for a moment, or a second attempt: the library refuses
// to take such a command into a pipeline.
func mayBlock(name any) bool {
	text, is := name.(string)
	if !is || text == "" {
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

func appendSet(buf []byte, key string, value any) ([]byte, error) {
	buf = appendText(append(buf, "*3\r\n$3\r\nSET\r\n"...), key)
	return appendValue(buf, value)
}

func appendSetPX(buf []byte, key string, value any, ttl time.Duration) ([]byte, error) {
	buf = appendText(append(buf, "*5\r\n$3\r\nSET\r\n"...), key)
	buf, err := appendValue(buf, value)
	return appendInt(append(buf, "$2\r\nPX\r\n"...), ttl.Milliseconds()), err
}

func appendValue(buf []byte, value any) ([]byte, error) {
	buf, fits := appendArg(buf, value)
	if !fits {
		return buf, unfitting(2, value)
	}
	return buf, nil
}
