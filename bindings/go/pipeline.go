package rediscluster

import (
	"context"
	"sync"
	"time"
)

// Pipeline is a list of commands that are sent together, to all their nodes in parallel. It is atomic
// only with [Pipeline.ExecAtomic]. It must not be used by several goroutines at once.
//
//	replies, err := rc.Pipeline().Get("foo81").Get("foo16706").Exec(ctx)
type Pipeline struct {
	client *Client
	memory *pipelineMemory // nil while the pipeline is empty
	count  int
	// Encoded commands were appended: aggregates among the replies become encoded values.
	encoded bool
	err     error
}

// pipelineMemory holds the encoded commands, and what a call needs for the reply. It is reused by
// other pipelines: allocated for each, it would be most of the garbage that a pipeline makes.
type pipelineMemory struct {
	buf []byte
	out out
}

// A larger buffer is not reused, so that a rare large pipeline does not hold memory.
const maxReusedPipelineBuffer = 1 << 20

var pipelineMemories = sync.Pool{New: func() any {
	return &pipelineMemory{buf: make([]byte, 0, 4<<10)}
}}

// Pipeline returns a new, empty pipeline. It does not have to be closed.
func (c *Client) Pipeline() *Pipeline { return &Pipeline{client: c} }

// Do appends any command. It takes the arguments of [Client.Do]. One [Encoded] may hold several
// commands.
func (p *Pipeline) Do(args ...any) *Pipeline {
	if len(args) == 1 {
		if encoded, ok := args[0].(Encoded); ok {
			return p.addCommands(encoded)
		}
	}
	return p.add(appendCommand(p.buf(), args))
}

// SetPX appends a SET with a time to live.
func (p *Pipeline) SetPX(key string, value any, ttl time.Duration) *Pipeline {
	e := p.encoder()
	encodeSetPX(&e, key, value, ttl)
	return p.addEncoded(&e)
}

// encoder returns an encoder that appends to the commands.
func (p *Pipeline) encoder() encoder { return encoder{buf: p.buf()} }

// buf returns the commands that are encoded already.
func (p *Pipeline) buf() []byte {
	if p.memory == nil {
		p.memory = pipelineMemories.Get().(*pipelineMemory)
	}
	return p.memory.buf
}

func (p *Pipeline) add(buf []byte, err error) *Pipeline {
	if err == nil {
		p.memory.buf = buf
	} else if p.err == nil {
		p.err = err
	}
	p.count++
	return p
}

// addEncoded adds the command that an encoder has appended.
func (p *Pipeline) addEncoded(e *encoder) *Pipeline {
	if e.err != nil {
		return p.add(nil, e.err)
	}
	return p.add(e.buf, nil)
}

func (p *Pipeline) addCommands(commands Encoded) *Pipeline {
	n := commands.count()
	if n < 1 {
		return p.add(p.buf(), invalid("the encoded commands are malformed; see Encoded"))
	}
	p.count += n - 1 // add counts one
	p.encoded = true
	return p.add(append(p.buf(), commands...), nil)
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
// nothing is sent. In [Client.Watch], the error is [ErrTxFailed] if a watched key has changed.
func (p *Pipeline) ExecAtomic(ctx context.Context) ([]Value, error) { return p.exec(ctx, true) }

func (p *Pipeline) exec(ctx context.Context, atomic bool) ([]Value, error) {
	defer p.clear()
	if p.err != nil || p.count == 0 {
		return nil, p.err
	}
	m := p.memory
	byHand := atomic && p.client.pinned // the library's transactions choose their own connection
	if byHand {
		m.buf = append(append(multi[:len(multi):len(multi)], m.buf...), exec...)
	}
	var replies []Value
	run := func(h handle) (whole Value) {
		nativePipeline(h, m.buf, atomic && !byHand, &m.out)
		replies, whole = takeReplies(&m.out, p.encoded && !byHand)
		return whole
	}
	var whole Value
	if ctx.Done() == nil {
		whole = run(p.client.handle)
	} else {
		whole = p.client.withContext(ctx, run)
	}
	if err := whole.Err(); err != nil {
		return nil, err
	}
	if byHand {
		var err error
		if replies, err = p.executed(ctx, replies); err != nil {
			return nil, err
		}
	}
	var first error
	for i := range replies {
		if replies[i].kind == KindError {
			replies[i] = p.client.withContextCause(ctx, replies[i])
			if first == nil {
				first = replies[i].Err()
			}
		}
	}
	return replies, first
}

var multi, exec = []byte("*1\r\n$5\r\nMULTI\r\n"), []byte("*1\r\n$4\r\nEXEC\r\n")

// executed returns the replies of EXEC among those to MULTI, the commands and EXEC, or the error why the
// transaction has not run.
func (p *Pipeline) executed(ctx context.Context, replies []Value) ([]Value, error) {
	last := replies[len(replies)-1]
	if last.IsNil() {
		return nil, ErrTxFailed
	}
	if last.kind != KindError {
		return last.Slice()
	}
	for i, v := range replies {
		if v.kind == KindError {
			e := p.client.withContextCause(ctx, v).err()
			e.Message = trimPipelinePrefix(e.Message, i)
			return nil, e
		}
	}
	return nil, last.err()
}

func (p *Pipeline) clear() {
	if m := p.memory; m != nil && cap(m.buf) <= maxReusedPipelineBuffer {
		m.buf = m.buf[:0]
		pipelineMemories.Put(m)
	}
	p.memory, p.count, p.encoded, p.err = nil, 0, false, nil
}
