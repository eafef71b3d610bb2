// Package rediscluster is a client for Redis Cluster and Valkey Cluster, over the shared library
// librediscluster.
//
//	rc, err := rediscluster.New("redis://127.0.0.1:7000")
//	if err != nil { ... }
//	defer rc.Close()
//	err = rc.Set(ctx, "foo16706", "bar")
//	value, err := rc.Get(ctx, "foo16706") // err is rediscluster.Nil if there is no such key
//
// A [Client] is safe for concurrent use by any number of goroutines. Commands of concurrent
// goroutines are sent in batches, so a waiting goroutine does not occupy an OS thread; each call
// gets its own reply or its own error.
//
// A context ends its own call and no other. Its deadline replaces the client's timeout_ms. Without
// a deadline, timeout_ms applies, so that every call ends. If the context is done before the
// command is sent, the command is not sent; otherwise see [Error.Sent].
package rediscluster

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// Client is a handle on a cluster with its own options. It must be closed. The connections are
// shared by the clients made with [Client.With] and [Client.Readonly], and are closed with the last
// of these.
type Client struct {
	handle          handle
	deadlineHandles deadlineHandles
	batcher         batcher
	pinned          bool // has one connection: see Pin
	closed          atomic.Bool
}

var _ io.Closer = (*Client)(nil)

// Option is an option of [New].
type Option struct{ name, value string }

// WithOption sets an option by its name; CONFIGURATION.md lists them. It overrides the same option
// in the URL.
func WithOption(name, value string) Option { return Option{name, value} }

// WithTimeout sets timeout_ms, the time limit of a call whose context has no deadline.
func WithTimeout(d time.Duration) Option {
	return Option{"timeout_ms", fmt.Sprint(d.Milliseconds())}
}

// WithDatabase selects a numbered database: of a single server, or of a cluster of Valkey 9. It
// overrides the number in the URL.
func WithDatabase(number int) Option {
	return Option{"database", fmt.Sprint(number)}
}

// New connects to the cluster at a URL such as
// "redis://user:pass@h1:7000,h2:7001?read_from=replica&timeout_ms=500". The hosts are seeds: one
// reachable host is enough. New takes timeout_ms at most.
//
// The same client is one of a single server: "redis://localhost/3" for its database 3, and
// "unix:///run/redis.sock" for its unix socket.
func New(url string, opts ...Option) (*Client, error) {
	if loaded, compiled := nativeVersion(); loaded < compiled {
		return nil, &Error{Code: ErrInternal, Message: fmt.Sprintf(
			"INTERNAL the loaded librediscluster is version %s, and this program was compiled with %s; install that version or a later one",
			versionText(loaded), versionText(compiled))}
	}
	settings, err := appendCString(nil, "the URL", url)
	for _, opt := range opts {
		if err == nil {
			settings, err = appendCString(settings, "the name of an option", opt.name)
		}
		if err == nil {
			settings, err = appendCString(settings, "the value of option "+opt.name, opt.value)
		}
	}
	if err != nil {
		return nil, err
	}
	return newClient(nativeCreate(settings, len(opts)))
}

// versionText formats a version number of the library: 1000 is 0.1.0.
func versionText(number int) string {
	return fmt.Sprintf("%d.%d.%d", number/1000000, number/1000%1000, number%1000)
}

// appendCString appends text as a NUL-terminated string.
func appendCString(buf []byte, what, text string) ([]byte, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, invalid(what + " contains a NUL byte, which is not allowed; remove it")
	}
	return append(append(buf, text...), 0), nil
}

// newClient makes a client of a handle, or returns the error of a handle that could not connect.
func newClient(h handle) (*Client, error) {
	c := &Client{handle: h}
	c.batcher.client = c
	message := nativeError(h)
	if message == "" {
		return c, nil
	}
	c.Close()
	return nil, creationError(message)
}

// Readonly returns another client on the same cluster. It reads from a random node among a slot's
// primary and replicas. It refuses every command that is not known to be a read, with
// [ErrReadOnly], before a byte is sent. Reads may be stale: replication is asynchronous. The
// returned client has to be closed too.
func (c *Client) Readonly() (*Client, error) {
	return newClient(nativeReadonly(c.handle))
}

// With returns another client on the same cluster with one option changed, one of those that
// CONFIGURATION.md marks as per handle: timeout_ms, read_from, readonly, retry_writes and others.
// It is cheap and does no I/O. The returned client has to be closed too.
func (c *Client) With(name, value string) (*Client, error) {
	cName, err := appendCString(nil, "the name of an option", name)
	if err != nil {
		return nil, err
	}
	cValue, err := appendCString(nil, "the value of option "+name, value)
	if err != nil {
		return nil, err
	}
	return newClient(nativeWith(c.handle, cName, cValue))
}

// SetCredentials replaces the user and the password on all clients of the same cluster, and does no
// I/O. The user is "" for the default user. Connections that are opened from now on use the new
// credentials. An open one is authenticated again when it is idle, before its next command. If a
// server refuses them, its open connections keep their user. The error is [ErrInvalid] or
// [ErrClosed], and then nothing has changed. See docs/credentials.md.
func (c *Client) SetCredentials(user, password string) error {
	cUser, err := appendCString(nil, "the user", user)
	if err != nil {
		return err
	}
	cPassword, err := appendCString(nil, "the password", password)
	if err != nil {
		return err
	}
	switch {
	case c.isClosed():
		return &Error{Code: ErrClosed, Message: "CLOSED the client was closed"}
	case !nativeSetCredentials(c.handle, cUser, cPassword):
		return invalid("the credentials are not valid: at most 64 KiB of UTF-8, a user without control characters, and a password for a user")
	default:
		return nil
	}
}

// Close closes the client: calls in progress and later calls fail with [ErrClosed]. A second Close
// does nothing. The error is always nil.
func (c *Client) Close() error {
	if !c.closed.Swap(true) {
		nativeClose(c.handle)
		c.deadlineHandles.close()
	}
	return nil
}

func (c *Client) isClosed() bool { return c.closed.Load() }

// Do sends any command to the node that serves it and waits for the reply. Arguments are strings,
// []byte, bools (1 and 0) and numbers, or one [Encoded] command. An error reply is returned as the error; a nil reply is a
// value and not an error.
//
// A blocking command (BLPOP, XREAD BLOCK) may take its own timeout in addition, unless the context
// ends it.
func (c *Client) Do(ctx context.Context, args ...any) (Value, error) {
	cmd, err := encode(args)
	if err != nil {
		return Value{}, err
	}
	v := c.run(ctx, cmd)
	return v, v.Err()
}

// encode returns a command with these arguments.
func encode(args []any) (*command, error) {
	cmd := newCommand()
	var err error
	if cmd.buf, err = appendCommand(cmd.buf, args); err != nil {
		cmd.free()
		return nil, err
	}
	cmd.unbatched = mayBlock(args[0])
	_, cmd.encoded = args[0].(Encoded)
	return cmd, nil
}

// SetPX is Set with a time to live of at least one millisecond.
func (c *Client) SetPX(ctx context.Context, key string, value any, ttl time.Duration) error {
	cmd := newCommand()
	encodeSetPX(&cmd.encoder, key, value, ttl)
	return c.run(ctx, cmd).Err()
}

// Scan calls each for every key of the cluster that matches a pattern ("" for all). If each returns
// an error, Scan stops and returns it. A key may be passed twice. A key that exists during the whole
// scan is passed at least once, even while slots migrate and primaries fail over.
func (c *Client) Scan(ctx context.Context, match string, each func(key string) error) error {
	if match == "" {
		match = "*"
	}
	for cursor := "0"; ; {
		cmd := newCommand()
		encodeScan(&cmd.encoder, cursor, "MATCH", match)
		keys, next, err := c.run(ctx, cmd).page()
		if err != nil {
			return err
		}
		for _, key := range keys {
			if err := each(key); err != nil {
				return err
			}
		}
		if cursor = next; cursor == "0" {
			return nil
		}
	}
}

// Stats returns the counters of STATISTICS.md as a map. All clients of the cluster share them.
func (c *Client) Stats() (Value, error) {
	return c.introspect(nativeStats)
}

// Topology returns the cluster as the client knows it: an array of shards, each a map.
func (c *Client) Topology() (Value, error) {
	return c.introspect(nativeTopology)
}

// Refresh reads the topology from the servers now. The client does so by itself when an error or a
// redirection suggests a change.
func (c *Client) Refresh() error {
	_, err := c.introspect(nativeRefresh)
	return err
}

// Explain returns how a command would be routed, without sending it, as a map: "slots", "nodes",
// "others" with the reasons why the other nodes do not get it, "access", and "error" if the command
// would be refused.
func (c *Client) Explain(args ...any) (Value, error) {
	cmd, err := encode(args)
	if err != nil {
		return Value{}, err
	}
	defer cmd.free()
	nativeExplain(c.handle, cmd.buf, &cmd.out)
	v := takeValue(&cmd.out, false)
	return v, v.Err()
}

func (c *Client) introspect(native func(handle, *out)) (Value, error) {
	cmd := newCommand()
	defer cmd.free()
	native(c.handle, &cmd.out)
	v := takeValue(&cmd.out, false)
	return v, v.Err()
}
