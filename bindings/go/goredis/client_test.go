package goredis_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/librediscluster/librediscluster/bindings/go/goredis"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
)

func TestErrorsAreThoseOfBothLibraries(t *testing.T) {
	rdb := connect(t)
	must(t, rdb.Set(bg, "text", "x", 0).Err())
	cmd := rdb.LPush(bg, "text", 1)
	var e *rediscluster.Error
	var reply redis.Error
	if err := cmd.Err(); !redis.HasErrorPrefix(err, "WRONGTYPE") || !errors.As(err, &reply) || !errors.As(err, &e) || !e.Sent || e.Node == "" {
		t.Fatalf("%v, %+v", err, e)
	}
	cmds, err := rdb.Pipelined(bg, func(p redis.Pipeliner) error {
		p.Get(bg, "none")
		p.LPush(bg, "text", 1)
		p.Get(bg, "text")
		return nil
	})
	same(t, err, redis.Nil)
	if err := cmds[1].Err(); !strings.HasPrefix(err.Error(), "WRONGTYPE") || !errors.As(err, &e) || !e.Sent {
		t.Fatal(err)
	}
	same(t, cmds[2].(*redis.StringCmd).Val(), "x")
	if err := rdb.SUnion(bg, "a", "b").Err(); !errors.Is(err, redis.ErrCrossSlot) || !errors.Is(err, rediscluster.ErrCrossSlot) {
		t.Fatal(err)
	}
	readonly, err := rdb.Cluster().Readonly()
	must(t, err)
	defer readonly.Close()
	ours := goredis.From(readonly)
	defer ours.Close()
	if err := ours.Set(bg, "text", 1, 0).Err(); !errors.As(err, &e) || e.Sent || !errors.Is(err, rediscluster.ErrReadOnly) {
		t.Fatal(err)
	}
	must(t, rdb.Close())
	if err := rdb.Get(bg, "text").Err(); !errors.Is(err, redis.ErrClosed) {
		t.Fatal(err)
	}
}

func TestReportsAreThoseOfOneNode(t *testing.T) {
	rdb := connect(t)
	check := func(name, text string, err error) {
		t.Helper()
		must(t, err)
		if !strings.Contains(text, "redis_version:") && !strings.Contains(text, "Sam") {
			t.Errorf("%s: %q", name, text)
		}
	}
	text, err := rdb.Info(bg).Result()
	check("INFO", text, err)
	text, err = rdb.Info(bg, "server").Result()
	check("INFO server", text, err)
	text, err = rdb.Do(bg, "MEMORY", "doctor").Text()
	check("MEMORY DOCTOR", text, err)
	must(t, rdb.FunctionStats(bg).Err())
	if _, err := rdb.Do(bg, "LATENCY", "LATEST").Slice(); err != nil {
		t.Error(err)
	}
	must(t, rdb.Set(bg, "report", "x", 0).Err())
	must(t, rdb.MemoryUsage(bg, "report").Err())
	cmds, err := rdb.Pipelined(bg, func(p redis.Pipeliner) error {
		p.Append(bg, "report", "y")
		p.Info(bg)
		p.Get(bg, "report")
		return nil
	})
	check("INFO in a pipeline", cmds[1].(*redis.StringCmd).Val(), err)
	same(t, cmds[2].(*redis.StringCmd).Val(), "xy")
}

func TestContextEndsItsOwnCommand(t *testing.T) {
	rdb := connect(t)
	for _, end := range []struct {
		cause error
		ctx   func() (context.Context, context.CancelFunc)
	}{
		{context.DeadlineExceeded, func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(bg, 60*time.Millisecond)
		}},
		{context.Canceled, func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(bg)
			time.AfterFunc(60*time.Millisecond, cancel)
			return ctx, cancel
		}},
	} {
		ctx, cancel := end.ctx()
		begun := time.Now()
		err := rdb.BLPop(ctx, 0, "queue").Err()
		if took := time.Since(begun); !errors.Is(err, end.cause) || took < 50*time.Millisecond || took > 2*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		// A done context sends nothing.
		err = rdb.Set(ctx, "done", 1, 0).Err()
		var e *rediscluster.Error
		if !errors.Is(err, end.cause) || errors.As(err, &e) && e.Sent {
			t.Error(err)
		}
		if _, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Get(ctx, "x").Err() }); !errors.Is(err, end.cause) {
			t.Error(err)
		}
		cancel()
	}
	must(t, rdb.Set(bg, "done", 1, 0).Err())
}

func TestTimeoutIsNetworkError(t *testing.T) {
	rdb := connect(t, rediscluster.WithTimeout(100*time.Millisecond), rediscluster.WithOption("attempt_timeout_ms", "100"))
	must(t, rdb.Set(bg, "late", 1, 0).Err())
	port := ctl(t, "primary-of", "key:late")
	ctl(t, "stop", port)
	err := rdb.Set(bg, "late", 2, 0).Err()
	ctl(t, "cont", port)
	ctl(t, "wait-healthy")
	var network net.Error
	var e *rediscluster.Error
	if !errors.As(err, &network) || !network.Timeout() || !errors.As(err, &e) || !e.Sent {
		t.Fatal(err)
	}
}

func TestTransactionRunsWholeOrNot(t *testing.T) {
	rdb := connect(t)
	must(t, rdb.Del(bg, "{tx}n", "{tx}list").Err())
	var n *redis.IntCmd
	cmds, err := rdb.TxPipelined(bg, func(p redis.Pipeliner) error {
		n = p.Incr(bg, "{tx}n")
		p.Expire(bg, "{tx}n", time.Hour)
		return nil
	})
	must(t, err)
	same(t, len(cmds), 2)
	same(t, n.Val(), 1)
	// A command that fails when it runs does not undo the others.
	cmds, err = rdb.TxPipelined(bg, func(p redis.Pipeliner) error {
		p.Incr(bg, "{tx}n")
		p.LPush(bg, "{tx}n", 1)
		return nil
	})
	var e *rediscluster.Error
	if !redis.HasErrorPrefix(err, "WRONGTYPE") || !errors.As(cmds[1].Err(), &e) || cmds[0].Err() != nil {
		t.Fatal(err, cmds)
	}
	// A command that is refused when it is queued refuses all.
	_, err = rdb.TxPipelined(bg, func(p redis.Pipeliner) error {
		p.Incr(bg, "{tx}n")
		p.Do(bg, "incr", "{tx}n", "too", "many")
		return nil
	})
	if err == nil {
		t.Fatal("no error")
	}
	same(t, rdb.Get(bg, "{tx}n").Val(), "2")
	_, err = rdb.TxPipelined(bg, func(p redis.Pipeliner) error {
		p.Incr(bg, "a")
		p.Incr(bg, "b")
		return nil
	})
	if !errors.Is(err, redis.ErrCrossSlot) {
		t.Fatal(err)
	}
	cmds, err = rdb.TxPipelined(bg, func(redis.Pipeliner) error { return nil })
	same(t, fmt.Sprint(cmds, err), "[] <nil>")
}

func TestWatchLosesNoIncrement(t *testing.T) {
	rdb := connect(t)
	const goroutines, times = 8, 20
	var failed atomic.Int64
	var all sync.WaitGroup
	for g := 0; g < goroutines; g++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; i < times; {
				err := rdb.Watch(bg, func(tx *redis.Tx) error {
					n, err := tx.Get(bg, "watched").Int()
					if err != nil && err != redis.Nil {
						return err
					}
					tx.Get(bg, "key of another slot")
					_, err = tx.TxPipelined(bg, func(p redis.Pipeliner) error {
						p.Set(bg, "watched", n+1, 0)
						return nil
					})
					return err
				}, "watched", "{watched}2")
				switch {
				case err == nil:
					i++
				case errors.Is(err, redis.TxFailedErr):
					failed.Add(1)
				default:
					t.Error(err)
					return
				}
			}
		}()
	}
	all.Wait()
	same(t, rdb.Get(bg, "watched").Val(), goroutines*times)
	t.Logf("%d transactions failed and were run again", failed.Load())
	// Without a transaction, and with an error of the function, the watch ends too.
	same(t, rdb.Watch(bg, func(tx *redis.Tx) error { return os.ErrExist }, "watched"), os.ErrExist)
	if err := rdb.Watch(bg, func(*redis.Tx) error { return nil }, "a", "b"); !redis.HasErrorPrefix(err, "CROSSSLOT") {
		t.Fatal(err)
	}
}

func TestScanVisitsKeysOfAllNodes(t *testing.T) {
	rdb := connect(t)
	want := map[string]bool{}
	p := rdb.Pipeline()
	for i := 0; i < 500; i++ {
		key := fmt.Sprint("scanned:", i)
		want[key] = true
		p.Set(bg, key, i, 0)
	}
	_, err := p.Exec(bg)
	must(t, err)
	each := rdb.Scan(bg, 0, "scanned:*", 50).Iterator()
	for each.Next(bg) {
		delete(want, each.Val())
	}
	must(t, each.Err())
	same(t, len(want), 0)
}

func TestNodesAreReachedOneByOne(t *testing.T) {
	rdb := connect(t)
	must(t, rdb.FlushAll(bg).Err())
	for i := 0; i < 50; i++ {
		must(t, rdb.Set(bg, fmt.Sprint("counted:", i), i, 0).Err())
	}
	ctl(t, "wait-sync")
	var primaries, replicas, nodes, keys atomic.Int64
	must(t, rdb.ForEachMaster(bg, func(ctx context.Context, node *redis.Client) error {
		primaries.Add(1)
		n, err := node.DBSize(ctx).Result()
		keys.Add(n)
		return err
	}))
	must(t, rdb.ForEachSlave(bg, func(ctx context.Context, node *redis.Client) error {
		replicas.Add(1)
		cmds, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Ping(ctx)
			p.DBSize(ctx)
			return nil
		})
		keys.Add(cmds[1].(*redis.IntCmd).Val())
		return err
	}))
	must(t, rdb.ForEachShard(bg, func(ctx context.Context, node *redis.Client) error {
		nodes.Add(1)
		return node.Ping(ctx).Err()
	}))
	same(t, []int64{primaries.Load(), replicas.Load(), nodes.Load(), keys.Load()}, []int64{3, 3, 6, 100})
	same(t, rdb.DBSize(bg).Val(), 50)
	want := errors.New("mine")
	if err := rdb.ForEachMaster(bg, func(context.Context, *redis.Client) error { return want }); err != want {
		t.Fatal(err)
	}
	primary, err := rdb.MasterForKey(bg, "counted:1")
	must(t, err)
	same(t, primary.Get(bg, "counted:1").Val(), "1")
	if !strings.HasSuffix(primary.Options().Addr, ":"+ctl(t, "primary-of", "key:counted:1")) {
		t.Fatal(primary.Options().Addr)
	}
	replica, err := rdb.SlaveForKey(bg, "counted:1")
	must(t, err)
	same(t, strings.HasPrefix(replica.Info(bg, "replication").Val(), "# Replication\r\nrole:slave"), true)
	rdb.ReloadState(bg)
	if stats := rdb.PoolStats(); stats.TotalConns == 0 {
		t.Fatal(stats)
	}
}

// recorder is a hook that writes down what it sees.
type recorder struct {
	lock sync.Mutex
	seen []string
}

func (r *recorder) add(text string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.seen = append(r.seen, text)
}

func (r *recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		var e *rediscluster.Error
		if cmd.Name() == "hello" { // of another connection
			return err
		}
		r.add(fmt.Sprintf("%v %T %t", cmd.Args(), cmd, errors.As(err, &e)))
		return err
	}
}

func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		r.add(fmt.Sprint(len(cmds), " commands"))
		return err
	}
}

func TestHooksSeeCommandsAsProgramMadeThem(t *testing.T) {
	rdb := connect(t)
	must(t, rdb.Ping(bg).Err()) // the chain of hooks is known before there are any
	r := &recorder{}
	rdb.AddHook(r)
	must(t, rdb.Set(bg, "{hook}", 1, 0).Err())
	_ = rdb.LPush(bg, "{hook}", 1).Err()
	_, err := rdb.Pipelined(bg, func(p redis.Pipeliner) error { p.Get(bg, "{hook}"); p.Get(bg, "{hook}"); return nil })
	must(t, err)
	_, err = rdb.TxPipelined(bg, func(p redis.Pipeliner) error { p.Get(bg, "{hook}"); return nil })
	must(t, err)
	must(t, rdb.Watch(bg, func(tx *redis.Tx) error { return tx.Get(bg, "{hook}").Err() }, "{hook}"))
	same(t, strings.Join(r.seen, "\n"), strings.Join([]string{
		"[set {hook} 1] *redis.StatusCmd false", "[lpush {hook} 1] *redis.IntCmd true", "2 commands", "3 commands",
		"[watch {hook}] *redis.StatusCmd false", "[get {hook}] *redis.StringCmd false", "[unwatch] *redis.StatusCmd false",
	}, "\n"))
}

func TestOptionsAreFollowedOrRefusedByName(t *testing.T) {
	rdb := goredis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addresses(t), ClientName: "adapter", RouteRandomly: true, ReadTimeout: 2 * time.Second, PoolSize: 3,
		DialTimeout: -1, MaxRedirects: 5,
	})
	defer rdb.Close()
	must(t, rdb.Set(bg, "option", "1", 0).Err())
	list, err := rdb.ClientList(bg).Result()
	must(t, err)
	if !strings.Contains(list, "name=adapter") {
		t.Error(list)
	}
	route, err := rdb.Cluster().Explain("GET", "option")
	must(t, err)
	fields, err := route.Map()
	must(t, err)
	same(t, fields["read_from"], `"any"`)
	for name, opt := range map[string]*redis.ClusterOptions{
		"Addrs": {},
		"TLSConfig.RootCAs, TLSConfig.MinVersion": {Addrs: addresses(t), TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}},
		"Dialer": {Addrs: addresses(t), Dialer: (&net.Dialer{}).DialContext},
	} {
		refused := goredis.NewClusterClient(opt)
		if err := refused.Ping(bg).Err(); err == nil || !strings.Contains(err.Error(), name) {
			t.Error(name, err)
		}
		if err := refused.ForEachMaster(bg, nil); err == nil {
			t.Error(name)
		}
		must(t, refused.Close())
	}
}

func TestTLSConfigMeansTLS(t *testing.T) {
	rdb := goredis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addresses(t), TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "cluster", InsecureSkipVerify: true}, DialTimeout: 300 * time.Millisecond,
	})
	defer rdb.Close()
	short, err := rdb.Cluster().With("timeout_ms", "300")
	must(t, err)
	defer short.Close()
	// The test cluster does not speak TLS.
	err = goredis.From(short).Ping(bg).Err()
	var e *rediscluster.Error
	if !errors.As(err, &e) || e.Sent || !strings.Contains(e.Message, "TLS") {
		t.Fatal(err)
	}
}

// rotating is a provider of credentials whose later ones are given by the test.
type rotating struct{ listener auth.CredentialsListener }

func (r *rotating) Subscribe(listener auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	r.listener = listener
	return auth.NewBasicCredentials("rotates", "first"), func() error { return nil }, nil
}

func TestStreamingCredentialsReplacePassword(t *testing.T) {
	admin := connect(t)
	user := func(password string) {
		must(t, admin.ForEachShard(bg, func(ctx context.Context, node *redis.Client) error {
			return node.Do(ctx, "ACL", "SETUSER", "rotates", "reset", "on", ">"+password, "~*", "&*", "+@all").Err()
		}))
	}
	user("first")
	defer admin.ForEachShard(bg, func(ctx context.Context, node *redis.Client) error {
		return node.Do(ctx, "ACL", "DELUSER", "rotates").Err()
	})
	provider := &rotating{}
	rdb := goredis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(t), StreamingCredentialsProvider: provider})
	defer rdb.Close()
	same(t, rdb.ACLWhoAmI(bg).Val(), "rotates")
	user("second")
	provider.listener.OnNext(auth.NewBasicCredentials("rotates", "second"))
	same(t, rdb.ACLWhoAmI(bg).Val(), "rotates")
}

func TestSingleServerIsUniversalClient(t *testing.T) {
	address := strings.TrimPrefix(os.Getenv("RDC_SINGLE_URL"), "redis://")
	rdb := goredis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{address}, DB: 3})
	defer rdb.Close()
	must(t, rdb.MSet(bg, "a", 1, "b", 2).Err())
	plain := redis.NewClient(&redis.Options{Addr: address, DB: 3})
	defer plain.Close()
	same(t, plain.MGet(bg, "a", "b").Val(), []any{"1", "2"})
	sentinel := goredis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{address}, MasterName: "x"})
	defer sentinel.Close()
	if err := sentinel.Ping(bg).Err(); err == nil || !strings.Contains(err.Error(), "MasterName") {
		t.Fatal(err)
	}
}

func TestConcurrentGoroutinesGetTheirOwnReplies(t *testing.T) {
	rdb := connect(t)
	var all sync.WaitGroup
	for g := 0; g < 32; g++ {
		all.Add(1)
		go func(g int) {
			defer all.Done()
			key := fmt.Sprint("own:", g)
			for i := 0; i < 60; i++ {
				ctx := bg
				if i%2 == 0 {
					ctx = within(t, time.Minute)
				}
				want := fmt.Sprint(g, " ", i)
				if err := rdb.Set(ctx, key, want, 0).Err(); err != nil {
					t.Error(err)
				}
				cmds, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
					p.Get(ctx, key)
					p.HSet(ctx, "hash"+key, "field", want)
					p.HGetAll(ctx, "hash"+key)
					return nil
				})
				if err != nil || cmds[0].(*redis.StringCmd).Val() != want || cmds[2].(*redis.MapStringStringCmd).Val()["field"] != want {
					t.Error(cmds, err)
				}
				if got := rdb.HGetAll(ctx, "hash"+key).Val()["field"]; got != want {
					t.Error(got, want)
				}
				if err := rdb.LPush(ctx, key, 1).Err(); !redis.HasErrorPrefix(err, "WRONGTYPE") {
					t.Error(err)
				}
			}
		}(g)
	}
	all.Wait()
}

func TestCommandsGoOnWhileSlotMigrates(t *testing.T) {
	rdb := connect(t, rediscluster.WithTimeout(20*time.Second))
	must(t, rdb.Del(bg, "{moves}", "{moves}n", "{moves}list").Err())
	ctx, cancel := context.WithCancel(bg)
	var all sync.WaitGroup
	var counts [4]atomic.Int64
	for i, work := range []func() error{
		func() error { return rdb.Set(bg, "{moves}", 1, 0).Err() },
		func() error {
			_, err := rdb.Pipelined(bg, func(p redis.Pipeliner) error {
				p.StrLen(bg, "{moves}")
				p.Set(bg, "elsewhere", 1, 0)
				p.LPush(bg, "{moves}list", 1)
				p.LTrim(bg, "{moves}list", 0, 5)
				return nil
			})
			return err
		},
		func() error {
			_, err := rdb.TxPipelined(bg, func(p redis.Pipeliner) error {
				p.Incr(bg, "{moves}tx")
				return p.Expire(bg, "{moves}tx", time.Hour).Err()
			})
			return err
		},
		func() error {
			err := rdb.Watch(bg, func(tx *redis.Tx) error {
				n, err := tx.Get(bg, "{moves}n").Int()
				if err != nil && !errors.Is(err, redis.Nil) {
					return err
				}
				_, err = tx.TxPipelined(bg, func(p redis.Pipeliner) error { return p.Set(bg, "{moves}n", n+1, 0).Err() })
				return err
			}, "{moves}n")
			return err
		},
	} {
		all.Add(1)
		go func(i int, work func() error) {
			defer all.Done()
			for ctx.Err() == nil {
				if err := work(); err != nil {
					t.Errorf("work %d: %v", i, err)
					return
				}
				counts[i].Add(1)
			}
		}(i, work)
	}
	home := ctl(t, "primary-of", "key:{moves}")
	nodes, err := rdb.Cluster().Nodes()
	must(t, err)
	other := ""
	for _, node := range nodes {
		if _, port, err := net.SplitHostPort(node.Address); err == nil && node.Primary && port != home {
			other = port
		}
	}
	for i := 0; i < 3; i++ {
		ctl(t, "migrate", "key:{moves}", other)
		ctl(t, "migrate", "key:{moves}", home)
	}
	ctl(t, "wait-healthy")
	cancel()
	all.Wait()
	same(t, rdb.Get(bg, "{moves}tx").Val(), counts[2].Load())
	same(t, rdb.Get(bg, "{moves}n").Val(), counts[3].Load())
	t.Log(counts[0].Load(), counts[1].Load(), counts[2].Load(), counts[3].Load())
}

func TestCommandsGoOnAfterPrimaryIsKilled(t *testing.T) {
	rdb := connect(t, rediscluster.WithTimeout(20*time.Second))
	must(t, rdb.Set(bg, "dies", "before", 0).Err())
	ctl(t, "wait-sync")
	victim := ctl(t, "primary-of", "key:dies")
	sub := rdb.SSubscribe(bg, "dies")
	defer sub.Close()
	_, err := sub.Receive(bg)
	must(t, err)
	ctl(t, "kill", victim)
	// A write whose reply was lost is not sent again: the caller decides.
	for err = errors.New("none yet"); err != nil; err = rdb.Set(within(t, 20*time.Second), "dies", "after", 0).Err() {
		var e *rediscluster.Error
		if errors.As(err, &e) && !e.Sent {
			t.Error(err)
		}
	}
	if ctl(t, "primary-of", "key:dies") == victim {
		t.Fatal("no failover")
	}
	must(t, rdb.Watch(bg, func(tx *redis.Tx) error {
		_, err := tx.TxPipelined(bg, func(p redis.Pipeliner) error { p.Append(bg, "dies", "!"); return nil })
		return err
	}, "dies"))
	same(t, rdb.Get(bg, "dies").Val(), "after!")
	// The subscription follows, and says so as go-redis does: by another confirmation.
	event, err := sub.ReceiveTimeout(bg, 20*time.Second)
	must(t, err)
	same(t, event, "ssubscribe: dies")
	must(t, rdb.SPublish(bg, "dies", "hello").Err())
	message, err := sub.ReceiveMessage(within(t, 20*time.Second))
	must(t, err)
	same(t, message.Payload, "hello")
	ctl(t, "restart", victim)
	ctl(t, "wait-healthy")
}
