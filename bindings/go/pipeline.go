package rediscluster

import (
	"context"
	"time"
)

// Pipeline is a list of commands that are sent together, to all their nodes in parallel. It is atomic
// only with [Pipeline.ExecAtomic]. It must not be used by several goroutines at once.
//
//	replies, err := rc.Pipeline().Get("foo81").Get("foo16706").Exec(ctx)
type Pipeline struct {
	client *Client
	buf    []byte
	count  int
	err    error
}

// Pipeline returns a new, empty pipeline. It does not have to be closed.
func (c *Client) Pipeline() *Pipeline { return &Pipeline{client: c} }

// Do appends any command. It takes the arguments of [Client.Do].
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

// Len returns the number of appended commands.
func (p *Pipeline) Len() int { return p.count }

// Exec sends all commands, waits for all replies, and returns one reply per command, in order. The
// error is the first error among the replies; the replies are returned too. The message of an error
// in a pipeline begins "Command # 2 (SET foo) of pipeline: ". A nil reply is not an error. If no
// replies are returned, no command was sent.
//
// On a read-only client, a pipeline that contains a write is not sent at all, and every reply is
// [ErrReadOnly]. The pipeline is empty afterwards, also after an error.
func (p *Pipeline) Exec(ctx context.Context) ([]Value, error) { return p.exec(ctx, false) }

// ExecAtomic is Exec inside MULTI and EXEC: all commands run or none, without other commands in
// between. All keys must be in one slot (use {hash tags}); otherwise the error is [ErrCrossSlot] and
// nothing is sent.
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
		return takeElements(&cmd.out, false, func(_ int, v Value) { replies = append(replies, v) })
	}
	var whole Value
	if ctx.Done() == nil {
		whole = run(p.client.handle)
	} else {
		whole = p.client.withContext(ctx, run)
	}
	if whole.err != nil {
		return nil, whole.err
	}
	var first error
	for i := range replies {
		if e := replies[i].err; e != nil {
			replies[i].err = p.client.withContextCause(ctx, e)
			if first == nil {
				first = replies[i].err
			}
		}
	}
	return replies, first
}

func (p *Pipeline) clear() {
	if cap(p.buf) > 1<<20 {
		p.buf = nil // free the memory of a large pipeline
	}
	p.buf, p.count, p.err = p.buf[:0], 0, nil
}
