package rediscluster

import (
	"context"
	"time"
)

// Pipeline is commands of one client that are sent together, to all their nodes at once. Not atomic,
// unless executed so. By one goroutine at a time.
//
//	replies, err := rc.Pipeline().Get("foo81").Get("foo16706").Exec(ctx)
type Pipeline struct {
	client *Client
	buf    []byte
	count  int
	err    error
}

// Pipeline is a new, empty pipeline. It needs no closing.
func (c *Client) Pipeline() *Pipeline { return &Pipeline{client: c} }

// Do appends any command; its arguments are those of [Client.Do].
func (p *Pipeline) Do(args ...any) *Pipeline {
	return p.add(appendCommand(p.buf, args))
}

// Get appends a GET.
func (p *Pipeline) Get(key string) *Pipeline {
	return p.add(appendText(append(p.buf, "*2\r\n$3\r\nGET\r\n"...), key), nil)
}

// Set appends a SET.
func (p *Pipeline) Set(key string, value any) *Pipeline {
	return p.add(appendSet(p.buf, key, value))
}

// SetPX appends a SET with a time to live.
func (p *Pipeline) SetPX(key string, value any, ttl time.Duration) *Pipeline {
	return p.add(appendSetPX(p.buf, key, value, ttl))
}

// Del appends a DEL of one key.
func (p *Pipeline) Del(key string) *Pipeline {
	return p.add(appendText(append(p.buf, "*2\r\n$3\r\nDEL\r\n"...), key), nil)
}

func (p *Pipeline) add(buf []byte, err error) *Pipeline {
	if err == nil {
		p.buf = buf
	} else if p.err == nil {
		p.err = err
	}
	p.count++
	return p
}

// Len is how many commands have been appended.
func (p *Pipeline) Len() int { return p.count }

// Exec sends all commands and waits for all replies: one for each command, in order. The error is
// the first among the replies, which are there all the same; their words begin "Command # 2 (SET
// foo) of pipeline: ". A nil reply is not an error. Without replies, none was sent.
//
// On a read-only client a pipeline with a write in it is not sent at all, and every reply is
// [ErrReadOnly]. The pipeline is empty afterwards, whatever comes of it.
func (p *Pipeline) Exec(ctx context.Context) ([]Value, error) { return p.exec(ctx, false) }

// ExecAtomic is Exec inside MULTI and EXEC: all commands or none, with nothing in between. Every
// key must be in one slot (use {hash tags}), or the error is [ErrCrossSlot] and nothing is sent.
func (p *Pipeline) ExecAtomic(ctx context.Context) ([]Value, error) { return p.exec(ctx, true) }

func (p *Pipeline) exec(ctx context.Context, atomic bool) ([]Value, error) {
	defer p.clear()
	if p.err != nil || p.count == 0 {
		return nil, p.err
	}
	var replies []Value
	run := func(h handle) Value {
		cmd := newCommand()
		defer cmd.free()
		nativePipeline(h, p.buf, atomic, &cmd.out)
		replies = make([]Value, 0, p.count)
		return takeEach(&cmd.out, false, func(_ int, v Value) { replies = append(replies, v) })
	}
	var whole Value
	if ctx.Done() == nil {
		whole = run(p.client.handle)
	} else {
		whole = p.client.bounded(ctx, run)
	}
	if whole.err != nil {
		return nil, whole.err
	}
	var first error
	for i := range replies {
		if e := replies[i].err; e != nil {
			replies[i].err = p.client.blame(ctx, e)
			if first == nil {
				first = replies[i].err
			}
		}
	}
	return replies, first
}

func (p *Pipeline) clear() {
	if cap(p.buf) > 1<<20 {
		p.buf = nil // what a large pipeline needed is not kept for ever
	}
	p.buf, p.count, p.err = p.buf[:0], 0, nil
}
