package rediscluster

import (
	"context"
	"errors"
	"math/bits"
	"strconv"
	"sync"
	"time"
)

// twins are handles for calls that have to end when a context says so. A handle can be closed,
// which ends what is under way on it and nothing else; so such a call has one of its own for as
// long as it takes, and gives it back to be used again unless it was closed.
type twins struct {
	lock   sync.Mutex
	closed bool
	idle   map[int64][]handle  // by timeout in milliseconds; 0 for that of the client
	all    map[handle]struct{} // also those in use
	spare  int                 // how many are idle
}

const maxIdleTwins = 64

func (t *twins) take(of handle, timeout int64) handle {
	t.lock.Lock()
	if idle := t.idle[timeout]; len(idle) > 0 {
		last := len(idle) - 1
		twin := idle[last]
		t.idle[timeout] = idle[:last]
		t.spare--
		t.lock.Unlock()
		return twin
	}
	t.lock.Unlock()
	var twin handle
	if timeout == 0 {
		twin = nativeTwin(of)
	} else {
		twin = nativeWith(of, []byte("timeout_ms\x00"), append(strconv.AppendInt(nil, timeout, 10), 0))
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.closed {
		nativeClose(twin) // and whoever uses it is told so
		return twin
	}
	if t.all == nil {
		t.all, t.idle = map[handle]struct{}{}, map[int64][]handle{}
	}
	t.all[twin] = struct{}{}
	return twin
}

func (t *twins) give(twin handle, timeout int64) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.closed {
		return
	}
	t.idle[timeout] = append(t.idle[timeout], twin)
	if t.spare++; t.spare > maxIdleTwins {
		// Any other will do; most likely it is one for a timeout that is not in use any more.
		for timeout, idle := range t.idle {
			if len(idle) == 0 {
				delete(t.idle, timeout)
				continue
			}
			t.drop(idle[0])
			t.idle[timeout] = idle[1:]
			t.spare--
			break
		}
	}
}

// drop closes a handle for good; under the lock.
func (t *twins) drop(twin handle) {
	delete(t.all, twin)
	nativeClose(twin)
}

func (t *twins) discard(twin handle) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.drop(twin)
}

// close closes all handles, also those in use.
func (t *twins) close() {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.closed = true
	for twin := range t.all {
		nativeClose(twin)
	}
	t.all, t.idle = nil, nil
}

// roundTimeout rounds up to seven significant bits, so that a few handles serve every context
// that has a deadline. The context itself ends the call on time.
func roundTimeout(d time.Duration) int64 {
	ms := int64((d + time.Millisecond - 1) / time.Millisecond)
	const longest = 86400000
	if ms > longest {
		return longest
	}
	if ms < 1 {
		return 1
	}
	drop := bits.Len64(uint64(ms)) - 7
	if drop <= 0 {
		return ms
	}
	unit := int64(1) << drop
	return (ms + unit - 1) / unit * unit
}

// grace is what the library gets to end a call by itself at its deadline: its error says which
// node was silent, and whether the command left.
const grace = 10 * time.Millisecond

// bounded calls f with a handle that lives until ctx is done.
func (c *Client) bounded(ctx context.Context, f func(handle) Value) Value {
	if err := ctx.Err(); err != nil {
		return failed(ended(err, false))
	}
	var timeout int64
	deadline, has := ctx.Deadline()
	if has {
		timeout = roundTimeout(time.Until(deadline))
	}
	twin := c.twins.take(c.handle, timeout)
	stop := afterDone(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			time.AfterFunc(grace, func() { nativeClose(twin) })
		} else {
			nativeClose(twin)
		}
	})
	v := f(twin)
	if stop() {
		c.twins.give(twin, timeout)
	} else {
		c.twins.discard(twin)
	}
	if v.err != nil {
		v.err = c.blame(ctx, v.err)
	}
	return v
}

// blame names the context where it is what ended a call.
func (c *Client) blame(ctx context.Context, e *Error) *Error {
	cause := ctx.Err()
	if deadline, has := ctx.Deadline(); has && cause == nil && e.Code == ErrTimeout && time.Until(deadline) < time.Millisecond {
		cause = context.DeadlineExceeded // its timer is about to say so
	}
	switch {
	case cause == nil:
		return e
	case e.Code == ErrTimeout:
		blamed := *e
		blamed.cause = cause
		return &blamed
	case e.Code == ErrClosed && !c.isClosed():
		blamed := ended(cause, e.Sent)
		blamed.Node = e.Node
		return blamed
	}
	return e
}
