package rediscluster

import (
	"context"
	"errors"
	"math/bits"
	"strconv"
	"sync"
	"time"
	"unsafe"
)

// deadlineHandles is a pool of derived handles for calls that a context can end. Closing a handle
// ends the calls in flight on it and no others, so such a call has a handle of its own. The handle
// returns to the pool afterwards, unless it was closed.
type deadlineHandles struct {
	lock      sync.Mutex
	closed    bool
	idle      map[int64][]handle  // by timeout in milliseconds; 0 is the client's own timeout
	all       map[handle]struct{} // idle and in use
	idleCount int
}

const maxIdleHandles = 64

func (d *deadlineHandles) acquire(of handle, timeout int64) handle {
	d.lock.Lock()
	if idle := d.idle[timeout]; len(idle) > 0 {
		last := len(idle) - 1
		h := idle[last]
		d.idle[timeout] = idle[:last]
		d.idleCount--
		d.lock.Unlock()
		return h
	}
	d.lock.Unlock()
	var h handle
	if timeout == 0 {
		h = nativeDerive(of)
	} else {
		h = nativeWith(of, []byte("timeout_ms\x00"), append(strconv.AppendInt(nil, timeout, 10), 0))
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	if d.closed {
		nativeClose(h) // calls on it fail with ErrClosed
		return h
	}
	if d.all == nil {
		d.all, d.idle = map[handle]struct{}{}, map[int64][]handle{}
	}
	d.all[h] = struct{}{}
	return h
}

func (d *deadlineHandles) release(h handle, timeout int64) {
	d.lock.Lock()
	defer d.lock.Unlock()
	if d.closed {
		return
	}
	d.idle[timeout] = append(d.idle[timeout], h)
	if d.idleCount++; d.idleCount > maxIdleHandles {
		// Close any idle handle; most likely its timeout is no longer in use.
		for timeout, idle := range d.idle {
			if len(idle) == 0 {
				delete(d.idle, timeout)
				continue
			}
			d.drop(idle[0])
			d.idle[timeout] = idle[1:]
			d.idleCount--
			break
		}
	}
}

// drop closes a handle and forgets it. The caller holds the lock.
func (d *deadlineHandles) drop(h handle) {
	delete(d.all, h)
	nativeClose(h)
}

func (d *deadlineHandles) discard(h handle) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.drop(h)
}

// close closes all handles, idle and in use.
func (d *deadlineHandles) close() {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.closed = true
	for h := range d.all {
		nativeClose(h)
	}
	d.all, d.idle = nil, nil
}

// roundTimeout rounds up to seven significant bits and returns milliseconds, so that a few handles
// serve all deadlines. The context itself ends the call on time.
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

// deadlineGrace is how long after the deadline the handle is closed. Until then the library ends
// the call by itself, and its error names the unresponsive node and says whether the command was
// sent.
const deadlineGrace = 10 * time.Millisecond

// withContext calls f with a handle that is closed when ctx is done.
func (c *Client) withContext(ctx context.Context, f func(handle) Value) Value {
	if err := ctx.Err(); err != nil {
		return errorValue(contextError(err, false))
	}
	if c.pinned {
		return c.withInterrupt(ctx, f)
	}
	var timeout int64
	deadline, has := ctx.Deadline()
	if has {
		timeout = roundTimeout(time.Until(deadline))
	}
	h := c.deadlineHandles.acquire(c.handle, timeout)
	stop := afterDone(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			time.AfterFunc(deadlineGrace, func() { nativeClose(h) })
		} else {
			nativeClose(h)
		}
	})
	v := f(h)
	if stop() {
		c.deadlineHandles.release(h, timeout)
	} else {
		c.deadlineHandles.discard(h)
	}
	return c.withContextCause(ctx, v)
}

// withInterrupt calls f on a pinned client, whose only connection is that of its own handle. The
// deadline may only shorten the client's timeout.
func (c *Client) withInterrupt(ctx context.Context, f func(handle) Value) Value {
	interrupted := make(chan struct{})
	stop := afterDone(ctx, func() {
		nativeInterrupt(c.handle)
		close(interrupted)
	})
	v := f(c.handle)
	if !stop() {
		<-interrupted // a later interrupt would end the next call
	}
	return c.withContextCause(ctx, v)
}

// endsWithTime tells whether a call returns this code when its time is over. Until then the library
// tries again to connect, and waits for a node that serves the slot.
func endsWithTime(code Code) bool {
	return code == ErrTimeout || code == ErrConnect || code == ErrDown
}

// withContextCause adds the context's error as the cause of an error if the context ended the call.
func (c *Client) withContextCause(ctx context.Context, v Value) Value {
	e := v.err()
	if e == nil {
		return v
	}
	cause := ctx.Err()
	if deadline, has := ctx.Deadline(); has && cause == nil && endsWithTime(e.Code) && time.Until(deadline) < time.Millisecond {
		cause = context.DeadlineExceeded // the context's timer is about to fire
	}
	switch {
	case cause == nil:
		return v
	case e.Code == ErrTimeout, endsWithTime(e.Code) && errors.Is(cause, context.DeadlineExceeded):
		caused := *e
		caused.cause = cause
		v.data = unsafe.Pointer(&caused)
	case e.Code == ErrClosed && !c.isClosed(), e.Code == ErrInterrupted && c.pinned:
		caused := contextError(cause, e.Sent)
		caused.Node = e.Node
		v.data = unsafe.Pointer(caused)
	}
	return v
}
