// Package goredis runs programs that were written for go-redis on librediscluster.
//
//	rdb, err := goredis.New("redis://127.0.0.1:7000")
//	if err != nil { ... }
//	defer rdb.Close()
//	err = rdb.Set(ctx, "key", "value", time.Minute).Err()
//
// A [ClusterClient] is a redis.UniversalClient: its commands, their results, pipelines, transactions and
// PubSub are those of the package github.com/redis/go-redis/v9, and the program goes on importing it for
// redis.Nil, redis.Z and so on. What go-redis would write to a socket goes to the library, which routes
// it, follows redirections and failovers, and sends the commands of concurrent goroutines in batches.
package goredis

import (
	"context"
	"net"
	"sync"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ClusterClient takes the place of a redis.ClusterClient. It is safe for concurrent use, and must be closed.
type ClusterClient struct {
	*redis.Client
	rc      *rediscluster.Client
	owned   bool
	pins    *pins
	hooks   *hooks
	options *redis.ClusterOptions
	failed  error
	unbind  func() error

	lock   sync.Mutex
	byNode map[string]*redis.Client // the clients of single nodes
}

var _ redis.UniversalClient = (*ClusterClient)(nil)

// New connects to the cluster at a URL of librediscluster: see [rediscluster.New], also for the options.
func New(url string, opts ...rediscluster.Option) (*ClusterClient, error) {
	rc, err := rediscluster.New(url, opts...)
	if err != nil {
		return nil, err
	}
	c := newClusterClient(rc, &redis.ClusterOptions{})
	c.owned = true
	return c, nil
}

// From returns a client that runs its commands on rc, with the options of rc. Close does not close rc.
func From(rc *rediscluster.Client) *ClusterClient {
	return newClusterClient(rc, &redis.ClusterOptions{})
}

func newClusterClient(rc *rediscluster.Client, options *redis.ClusterOptions) *ClusterClient {
	c := &ClusterClient{rc: rc, pins: &pins{rc: rc}, hooks: newHooks(), options: options, byNode: map[string]*redis.Client{}}
	c.Client = redis.NewClient(c.connOptions(""))
	c.Client.AddHook(c.hooks)
	return c
}

// Cluster returns the client of librediscluster that runs the commands.
func (c *ClusterClient) Cluster() *rediscluster.Client { return c.rc }

// Options returns the options that the client was made with.
func (c *ClusterClient) Options() *redis.ClusterOptions { return c.options }

// AddHook adds a hook, as redis.ClusterClient does.
func (c *ClusterClient) AddHook(hook redis.Hook) { c.hooks.add(hook) }

// Watch watches keys, calls fn, and ends the watch, as redis.ClusterClient does. All keys are in one slot. If the slot
// moves or its node fails before the transaction, fn is called again.
func (c *ClusterClient) Watch(ctx context.Context, fn func(*redis.Tx) error, keys ...string) error {
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		err := c.Client.Watch(ctx, fn, keys...)
		if !mayMove(err) || pause > time.Second || ctx.Err() != nil {
			return err
		}
		_ = c.rc.Refresh()
		sleep(ctx, pause)
	}
}

// Close closes the client, and the connections to the cluster unless it was made by [From].
func (c *ClusterClient) Close() error {
	err := c.Client.Close()
	c.lock.Lock()
	for _, client := range c.byNode {
		_ = client.Close()
	}
	c.lock.Unlock()
	c.pins.close()
	if c.unbind != nil {
		_ = c.unbind()
	}
	if c.owned && c.rc != nil {
		_ = c.rc.Close()
	}
	return err
}

// A connection of go-redis is a few buffers here, and the library limits those to the servers.
const poolSize = 10000

// connOptions are the options of a go-redis client whose connections lead to the library. The library
// has the timeouts and the retries, so go-redis has none. Commands go to the node at an address, or
// where the library routes them if it is "".
func (c *ClusterClient) connOptions(address string) *redis.Options {
	name := address
	if name == "" {
		name = "librediscluster"
	}
	buffer := func(size int) int {
		if size == 0 {
			return 8 << 10
		}
		return size
	}
	return &redis.Options{
		Addr: name,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if c.failed != nil {
				return nil, c.failed
			}
			return newConn(c.pins, &c.hooks.calls, address), nil
		},
		DialerRetries:            1,
		Protocol:                 c.options.Protocol,
		MaxRetries:               -1,
		ReadTimeout:              -2, // no deadline, and no call to set one
		WriteTimeout:             -2,
		PoolSize:                 poolSize,
		PoolTimeout:              time.Minute,
		ConnMaxIdleTime:          time.Minute,
		ReadBufferSize:           buffer(c.options.ReadBufferSize),
		WriteBufferSize:          buffer(c.options.WriteBufferSize),
		DisableIdentity:          true,
		UnstableResp3:            c.options.UnstableResp3,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}
