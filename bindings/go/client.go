// Package rediscluster is a client for Redis Cluster and Valkey Cluster, over the shared library
// librediscluster.
//
//	rc, err := rediscluster.New("redis://127.0.0.1:7000")
//	if err != nil { ... }
//	defer rc.Close()
//	err = rc.Set(ctx, "foo16706", "bar")
//	value, err := rc.Get(ctx, "foo16706") // err is rediscluster.Nil if there is no such key
//
// A [Client] is to be shared: any number of goroutines may use it at once. Those that call while
// others do have their commands sent together, and need no thread each; each gets its own reply
// or its own error all the same.
//
// A context ends its own call and no other. Its deadline takes the place of the client's
// timeout_ms; without one timeout_ms holds, so that every call ends. What the context is done with
// before it was sent is not sent; for the rest see [Error.Sent].
package rediscluster

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// Client is a cluster and a way of using it. It must be closed; the connections go with the last
// client on the same cluster.
type Client struct {
	handle handle
	twins  twins
	gather gather
	closed atomic.Bool
}

var _ io.Closer = (*Client)(nil)

// Option changes what [New] makes.
type Option struct{ name, value string }

// WithOption sets an option by its name; CONFIGURATION.md lists them. What the URL says of the
// same option is overruled.
func WithOption(name, value string) Option { return Option{name, value} }

// WithTimeout sets timeout_ms, the longest that a call without a deadline takes.
func WithTimeout(d time.Duration) Option {
	return Option{"timeout_ms", fmt.Sprint(d.Milliseconds())}
}

// New connects to the cluster that a URL names:
// "redis://user:pass@h1:7000,h2:7001?read_from=replica&timeout_ms=500". The hosts are seeds: any
// of them that lives is enough. It takes timeout_ms at most.
func New(url string, opts ...Option) (*Client, error) {
	if loaded, compiled := nativeVersion(); loaded < compiled {
		return nil, &Error{Code: ErrInternal, Message: fmt.Sprintf(
			"INTERNAL this program was compiled with librediscluster %d and runs with %d, which is older",
			compiled, loaded)}
	}
	words, err := appendWord(nil, "url", url)
	for _, opt := range opts {
		if err == nil {
			words, err = appendWord(words, "the name of an option", opt.name)
		}
		if err == nil {
			words, err = appendWord(words, "option "+opt.name, opt.value)
		}
	}
	if err != nil {
		return nil, err
	}
	return adopt(nativeCreate(words, len(opts)))
}

// appendWord appends text as C understands it.
func appendWord(words []byte, what, text string) ([]byte, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, invalid(what + " has a NUL byte in it")
	}
	return append(append(words, text...), 0), nil
}

// adopt makes a client of a handle; of one that could not connect, the error it gives to all.
func adopt(h handle) (*Client, error) {
	c := &Client{handle: h}
	c.gather.client = c
	if !nativeIsBroken(h) {
		return c, nil
	}
	defer c.Close()
	cmd := newCommand()
	defer cmd.free()
	cmd.buf = appendText(appendText(appendHead(cmd.buf, '*', 2), "GET"), "")
	return nil, cmd.direct(h).Err()
}

// Readonly is another client on the same cluster that reads from a slot's primary and replicas at
// random, and refuses every command that is not known to be a read with [ErrReadOnly] before a byte
// is sent. What it reads may be stale: replication is asynchronous. To be closed by itself.
func (c *Client) Readonly() (*Client, error) {
	return adopt(nativeReadonly(c.handle))
}

// With is another client on the same cluster with one option changed, one of those that
// CONFIGURATION.md marks as twin: timeout_ms, read_from, readonly, retry_writes and others. It is
// cheap, does no I/O, and is to be closed by itself.
func (c *Client) With(name, value string) (*Client, error) {
	nameWord, err := appendWord(nil, "the name of an option", name)
	if err != nil {
		return nil, err
	}
	valueWord, err := appendWord(nil, "option "+name, value)
	if err != nil {
		return nil, err
	}
	return adopt(nativeWith(c.handle, nameWord, valueWord))
}

// Close closes the client: calls under way and later ones fail with [ErrClosed]. Closing twice does
// nothing, and the error is nil.
func (c *Client) Close() error {
	if !c.closed.Swap(true) {
		nativeClose(c.handle)
		c.twins.close()
	}
	return nil
}

func (c *Client) isClosed() bool { return c.closed.Load() }

// Do sends any command to where it belongs and waits for its reply. Arguments are strings, []byte,
// bools (1 and 0) and numbers. An error reply is the error; a nil reply is a value, and not an error.
//
// A command that blocks by itself (BLPOP, XREAD BLOCK) takes as much longer as it asks to, unless
// the context ends it.
func (c *Client) Do(ctx context.Context, args ...any) (Value, error) {
	cmd := newCommand()
	var err error
	if cmd.buf, err = appendCommand(cmd.buf, args); err != nil {
		cmd.free()
		return Value{}, err
	}
	cmd.alone = mayBlock(args[0])
	v := c.run(ctx, cmd)
	return v, v.Err()
}

// Get is the value of a key; the error is [Nil] if there is none.
func (c *Client) Get(ctx context.Context, key string) (string, error) {
	cmd := newCommand()
	cmd.buf = appendText(append(cmd.buf, "*2\r\n$3\r\nGET\r\n"...), key)
	return c.run(ctx, cmd).Text()
}

// Set sets a key to a string, []byte, bool or number.
func (c *Client) Set(ctx context.Context, key string, value any) error {
	cmd := newCommand()
	var err error
	if cmd.buf, err = appendSet(cmd.buf, key, value); err != nil {
		cmd.free()
		return err
	}
	return c.run(ctx, cmd).Err()
}

// SetPX is Set with a time to live, of at least a millisecond.
func (c *Client) SetPX(ctx context.Context, key string, value any, ttl time.Duration) error {
	cmd := newCommand()
	var err error
	if cmd.buf, err = appendSetPX(cmd.buf, key, value, ttl); err != nil {
		cmd.free()
		return err
	}
	return c.run(ctx, cmd).Err()
}

// Del deletes a key, and says whether it was there.
func (c *Client) Del(ctx context.Context, key string) (bool, error) {
	cmd := newCommand()
	cmd.buf = appendText(append(cmd.buf, "*2\r\n$3\r\nDEL\r\n"...), key)
	return c.run(ctx, cmd).Bool()
}

// Exists says whether a key is there.
func (c *Client) Exists(ctx context.Context, key string) (bool, error) {
	cmd := newCommand()
	cmd.buf = appendText(append(cmd.buf, "*2\r\n$6\r\nEXISTS\r\n"...), key)
	return c.run(ctx, cmd).Bool()
}

// IncrBy adds to the integer that a key holds, and is what it holds afterwards. Where the reply is
// lost it may have run or not, and is not sent again: see [Error.Sent].
func (c *Client) IncrBy(ctx context.Context, key string, by int64) (int64, error) {
	cmd := newCommand()
	cmd.buf = appendInt(appendText(append(cmd.buf, "*3\r\n$6\r\nINCRBY\r\n"...), key), by)
	return c.run(ctx, cmd).Int()
}

// PExpire gives a key a time to live, and says whether the key is there.
func (c *Client) PExpire(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	cmd := newCommand()
	cmd.buf = appendInt(appendText(append(cmd.buf, "*3\r\n$7\r\nPEXPIRE\r\n"...), key), ttl.Milliseconds())
	return c.run(ctx, cmd).Bool()
}

// Scan calls each for every key of the cluster that matches a pattern ("" for all), until it returns
// an error, which Scan returns. A key may come twice; every one that is there throughout comes, also
// while slots move and primaries fail.
func (c *Client) Scan(ctx context.Context, match string, each func(key string) error) error {
	if match == "" {
		match = "*"
	}
	for cursor := "0"; ; {
		reply, err := c.Do(ctx, "SCAN", cursor, "MATCH", match)
		if err != nil {
			return err
		}
		step, err := reply.Slice()
		if err != nil {
			return err
		}
		keys, err := step[1].Slice()
		if err != nil {
			return err
		}
		for _, key := range keys {
			text, err := key.Text()
			if err != nil {
				return err
			}
			if err := each(text); err != nil {
				return err
			}
		}
		if cursor, err = step[0].Text(); err != nil || cursor == "0" {
			return err
		}
	}
}

// Stats are the counters of STATISTICS.md, a map, common to all clients on the cluster.
func (c *Client) Stats() (Value, error) {
	return c.look(nativeStats)
}

// Topology is the cluster as it is known: an array of shards, each a map.
func (c *Client) Topology() (Value, error) {
	return c.look(nativeTopology)
}

func (c *Client) look(what func(handle, *out)) (Value, error) {
	cmd := newCommand()
	defer cmd.free()
	what(c.handle, &cmd.out)
	v := take(&cmd.out)
	return v, v.Err()
}
