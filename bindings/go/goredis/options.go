package goredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
)

// NewClusterClient returns a client with the options of go-redis, which connects when it is first used. An option
// that librediscluster has no equal for is the error of every command: see README.md.
func NewClusterClient(opt *redis.ClusterOptions) *ClusterClient {
	copied := *opt
	c, err := fromOptions(&copied)
	if err != nil {
		c = newClusterClient(nil, &copied)
		c.failed = err
	}
	return c
}

// NewUniversalClient returns what NewClusterClient does, for a cluster or a single server.
func NewUniversalClient(opt *redis.UniversalOptions) *ClusterClient {
	if opt.MasterName != "" {
		c := newClusterClient(nil, opt.Cluster())
		c.failed = unsupported("MasterName", "librediscluster does not ask Sentinel; give the address of the server")
		return c
	}
	c := NewClusterClient(opt.Cluster())
	if opt.DB != 0 && c.failed == nil {
		if other, err := c.rc.With("database", fmt.Sprint(opt.DB)); err != nil {
			c.failed = err
		} else {
			_ = c.rc.Close()
			c.rc, c.pins.rc = other, other
		}
	}
	return c
}

func unsupported(option, advice string) error {
	return fmt.Errorf("goredis: the option %s is not supported: %s", option, advice)
}

// check returns the error of an option that cannot be followed.
func check(opt *redis.ClusterOptions) error {
	switch {
	case len(opt.Addrs) == 0:
		return errors.New("goredis: the option Addrs is empty; give one address of the cluster")
	case opt.NewClient != nil:
		return unsupported("NewClient", "there are no clients of single nodes; AddHook sees every command")
	case opt.Dialer != nil:
		return unsupported("Dialer", "the library opens its connections itself; address_map translates addresses")
	case opt.ClusterSlots != nil:
		return unsupported("ClusterSlots", "the library asks the cluster; a single server needs no slots")
	case opt.OnConnect != nil:
		return unsupported("OnConnect", "the library opens its connections itself")
	default:
		return nil
	}
}

func fromOptions(opt *redis.ClusterOptions) (*ClusterClient, error) {
	if err := check(opt); err != nil {
		return nil, err
	}
	user, password, err := credentials(opt)
	if err != nil {
		return nil, err
	}
	settings := []rediscluster.Option{rediscluster.WithOption("lazy", "yes")}
	set := func(name string, value any) {
		if text := fmt.Sprint(value); text != "" {
			settings = append(settings, rediscluster.WithOption(name, text))
		}
	}
	set("user", user)
	set("password", password)
	set("client_name", opt.ClientName)
	switch {
	case opt.RouteByLatency:
		set("read_from", "nearest")
	case opt.RouteRandomly:
		set("read_from", "any")
	case opt.ReadOnly:
		set("read_from", "replica")
	}
	if opt.Protocol == 2 {
		set("protocol", 2)
	}
	if opt.MaxRedirects != 0 {
		set("max_redirects", notNegative(opt.MaxRedirects))
	}
	if opt.PoolSize > 0 {
		set("connections_per_node", opt.PoolSize)
	}
	timeouts(opt, set)
	scheme := "redis://"
	if opt.TLSConfig != nil {
		scheme = "rediss://"
		secure, err := tlsOptions(opt.TLSConfig)
		if err != nil {
			return nil, err
		}
		for name, value := range secure {
			set(name, value)
		}
	}
	rc, err := rediscluster.New(scheme+strings.Join(opt.Addrs, ","), settings...)
	if err != nil {
		return nil, err
	}
	c := newClusterClient(rc, opt)
	c.owned = true
	if opt.StreamingCredentialsProvider != nil {
		if err := c.follow(opt.StreamingCredentialsProvider); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, nil
}

func notNegative(n int) int {
	if n < 0 {
		return 0
	}
	return n
}

// timeouts sets the time limits. In go-redis they are for each attempt, and here there is one for all of them too.
func timeouts(opt *redis.ClusterOptions, set func(string, any)) {
	const never = 24 * time.Hour
	limit := func(d time.Duration) time.Duration {
		switch {
		case d < 0:
			return never
		case d > 0 && d < time.Millisecond:
			return time.Millisecond
		default:
			return d
		}
	}
	whole := 5 * time.Second // the default of timeout_ms
	for name, d := range map[string]time.Duration{
		"attempt_timeout_ms": limit(opt.ReadTimeout), "connect_timeout_ms": limit(opt.DialTimeout),
	} {
		if d != 0 {
			set(name, d.Milliseconds())
		}
		if d > whole {
			whole = d
		}
	}
	set("timeout_ms", whole.Milliseconds())
}

// credentials returns the user and the password. A provider is asked once: see SetCredentials.
func credentials(opt *redis.ClusterOptions) (user, password string, err error) {
	switch {
	case opt.StreamingCredentialsProvider != nil:
		return "", "", nil
	case opt.CredentialsProviderContext != nil:
		return opt.CredentialsProviderContext(context.Background())
	case opt.CredentialsProvider != nil:
		user, password = opt.CredentialsProvider()
		return user, password, nil
	default:
		return opt.Username, opt.Password, nil
	}
}

// SetCredentials replaces the user and the password of all connections: see [rediscluster.Client.SetCredentials].
func (c *ClusterClient) SetCredentials(user, password string) error {
	if c.failed != nil {
		return c.failed
	}
	return c.rc.SetCredentials(user, password)
}

// follow sets the credentials that a provider gives, now and later.
func (c *ClusterClient) follow(provider auth.StreamingCredentialsProvider) error {
	first, unsubscribe, err := provider.Subscribe(credentialsListener{c})
	if err != nil {
		return err
	}
	c.unbind = unsubscribe
	return c.SetCredentials(first.BasicAuth())
}

// credentialsListener sets the credentials of a client.
type credentialsListener struct{ c *ClusterClient }

// OnNext sets new credentials.
func (l credentialsListener) OnNext(credentials auth.Credentials) {
	_ = l.c.SetCredentials(credentials.BasicAuth())
}

// OnError does nothing: the present credentials stay.
func (l credentialsListener) OnError(error) {}
