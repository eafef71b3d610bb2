package goredis

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// conn is a connection of go-redis. What go-redis writes is kept until it reads: the read executes the
// commands on the calling goroutine, and then returns their replies. SUBSCRIBE and its like are executed by
// the write, and from then on reads return messages.
type conn struct {
	session session // of the reader, or of Close if there is none

	lock     sync.Mutex // for what follows
	in       []byte     // requests that have not been executed
	messages *messages  // nil before SUBSCRIBE
	deadline time.Time  // of reads; only subscriptions regard it
	reading  bool
	isClosed bool
	closed   chan struct{}

	// Of the reader.
	out   []byte // replies that have not been read, from at on
	at    int
	taken []byte // the memory of the requests that are executed
}

func newConn(pins *pins, calls *calls, node string) net.Conn {
	return &conn{
		session: session{rc: pins.rc, pins: pins, calls: calls, node: node},
		closed:  make(chan struct{}),
	}
}

// Write keeps requests, or executes those of a subscription.
func (c *conn) Write(requests []byte) (int, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.isClosed {
		return 0, net.ErrClosed
	}
	if c.messages == nil && len(c.in) == 0 && isSubscribe(requests) {
		c.messages = newMessages(c.session.rc)
	}
	c.in = append(c.in, requests...)
	if c.messages != nil {
		var err error
		if c.in, err = c.messages.execute(c.in); err != nil {
			return 0, err
		}
	}
	return len(requests), nil
}

// Read executes what was written, and returns replies.
func (c *conn) Read(p []byte) (int, error) {
	if c.at == len(c.out) {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.out[c.at:])
	if c.at += n; c.at == len(c.out) && cap(c.out) > maxKeptBuffer {
		c.out, c.at = nil, 0
	}
	return n, nil
}

// A larger buffer is not kept, so that a rare large command does not hold memory.
const maxKeptBuffer = 64 << 10

// fill executes the requests, or waits for a message.
func (c *conn) fill() error {
	c.out, c.at = c.out[:0], 0
	c.lock.Lock()
	if c.isClosed {
		c.lock.Unlock()
		return net.ErrClosed
	}
	if messages, deadline := c.messages, c.deadline; messages != nil {
		c.lock.Unlock()
		return c.nextMessage(messages, deadline)
	}
	requests := c.in
	if c.in, c.taken = c.taken[:0], nil; cap(requests) <= maxKeptBuffer {
		c.taken = requests
	}
	c.reading = true
	c.lock.Unlock()
	var err error
	if c.out, err = c.session.execute(c.out, requests); err == nil && len(c.out) == 0 {
		err = io.ErrNoProgress // go-redis reads no reply that it has not asked for
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.reading = false; c.isClosed {
		c.session.close()
	}
	return err
}

// nextMessage waits for a message, and encodes it.
func (c *conn) nextMessage(messages *messages, deadline time.Time) error {
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case c.out = <-messages.encoded:
		return nil
	case <-timeout:
		return os.ErrDeadlineExceeded
	case <-c.closed:
		return net.ErrClosed
	}
}

// Close ends the subscriptions. A command that is being executed goes on until it ends.
func (c *conn) Close() error {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.isClosed {
		return nil
	}
	c.isClosed = true
	close(c.closed)
	if c.messages != nil {
		c.messages.close()
	}
	if !c.reading {
		c.session.close()
	}
	return nil
}

// SetReadDeadline sets the deadline of the next read.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.deadline = t
	return nil
}

// SetWriteDeadline does nothing: a write does not wait.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// address is both ends of a connection.
type address string

func (a address) Network() string { return "librediscluster" }
func (a address) String() string  { return string(a) }

// LocalAddr returns the name of the library.
func (c *conn) LocalAddr() net.Addr { return address("librediscluster") }

// RemoteAddr returns the address of the node, if the connection has one.
func (c *conn) RemoteAddr() net.Addr { return address(c.session.node) }
