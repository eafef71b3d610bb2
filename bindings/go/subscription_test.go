package rediscluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

// within is a context for one step of a test.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, d)
	t.Cleanup(cancel)
	return ctx
}

// receive returns the next event as a T.
func receive[T any](t testing.TB, s *rediscluster.Subscription) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	event, err := s.Receive(ctx)
	must(t, err)
	typed, ok := event.(T)
	if !ok {
		t.Fatalf("got %T %v", event, event)
	}
	return typed
}

func publish(t testing.TB, rc *rediscluster.Client, command, channel string, payload any) {
	t.Helper()
	_, err := rc.Do(bg, command, channel, payload)
	must(t, err)
}

func subscribers(t testing.TB, rc *rediscluster.Client, channel string) int64 {
	t.Helper()
	v, err := rc.Do(bg, "PUBSUB", "NUMSUB", channel)
	must(t, err)
	if v.Kind() == rediscluster.KindMap {
		m, err := v.Map()
		must(t, err)
		n, err := m[channel].Int()
		must(t, err)
		return n
	}
	flat, err := v.Slice()
	must(t, err)
	n, err := flat[1].Int()
	must(t, err)
	return n
}

func TestSubscriptionReceivesConfirmationsAndMessages(t *testing.T) {
	rc := connect(t)
	for _, form := range []struct {
		kind      string
		subscribe func(context.Context, ...string) *rediscluster.Subscription
		name      string
		publish   string
		want      rediscluster.Message
	}{
		// A channel each: a message travels from node to node, and may arrive later.
		{"subscribe", rc.Subscribe, "go:news", "PUBLISH", rediscluster.Message{Channel: "go:news", Payload: "x"}},
		{"psubscribe", rc.PSubscribe, "go:p*s", "PUBLISH", rediscluster.Message{Channel: "go:posts", Payload: "x", Pattern: "go:p*s"}},
		{"ssubscribe", rc.SSubscribe, "go:shard", "SPUBLISH", rediscluster.Message{Channel: "go:shard", Payload: "x", Sharded: true}},
	} {
		s := form.subscribe(bg, form.name)
		same(t, *receive[*rediscluster.Confirmation](t, s), rediscluster.Confirmation{Kind: form.kind, Channel: form.name, Count: 1})
		publish(t, rc, form.publish, form.want.Channel, "x")
		same(t, *receive[*rediscluster.Message](t, s), form.want)
		must(t, s.Close())
		_, err := s.Receive(bg)
		fails(t, err, rediscluster.ErrClosed)
		must(t, s.Close())
	}
}

func TestSubscriptionIsChangedWhileItReceives(t *testing.T) {
	rc := connect(t)
	s := rc.Subscribe(bg, "go:first")
	defer s.Close()
	receive[*rediscluster.Confirmation](t, s)
	go func() {
		time.Sleep(20 * time.Millisecond)
		if err := s.SSubscribe(bg, "go:a", "go:b", "go:c"); err != nil {
			t.Error(err)
		}
		if err := s.Unsubscribe(bg); err != nil {
			t.Error(err)
		}
	}()
	kinds := map[string]int{}
	for i := 0; i < 4; i++ {
		kinds[receive[*rediscluster.Confirmation](t, s).Kind]++
	}
	same(t, kinds, map[string]int{"ssubscribe": 3, "unsubscribe": 1})
	for _, channel := range []string{"go:a", "go:b", "go:c"} {
		publish(t, rc, "SPUBLISH", channel, channel)
		same(t, receive[*rediscluster.Message](t, s).Payload, channel)
	}
}

func TestBinaryAndLargePayloadsArrive(t *testing.T) {
	rc := connect(t)
	s := rc.SSubscribe(bg, "go:\x00\xff")
	defer s.Close()
	receive[*rediscluster.Confirmation](t, s)
	for _, payload := range []string{"", "\x00\r\n\xff", strings.Repeat("x", 16300), strings.Repeat("y", 1<<20)} {
		publish(t, rc, "SPUBLISH", "go:\x00\xff", payload)
		m := receive[*rediscluster.Message](t, s)
		if m.Payload != payload || m.Channel != "go:\x00\xff" {
			t.Errorf("got %d bytes, want %d", len(m.Payload), len(payload))
		}
	}
}

func TestChannelDeliversInOrderAndIsClosed(t *testing.T) {
	rc := connect(t)
	s := rc.SSubscribe(bg, "go:stream")
	receive[*rediscluster.Confirmation](t, s)
	messages := s.Channel()
	const n = 5000
	go func() {
		for i := 0; i < n; i += 500 {
			p := rc.Pipeline()
			for j := i; j < i+500; j++ {
				p.Do("SPUBLISH", "go:stream", j)
			}
			if _, err := p.Exec(bg); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := 0; i < n; i++ {
		m := <-messages
		if m.Payload != fmt.Sprint(i) || m.Gap != nil {
			t.Fatalf("got %v %v at %d", m.Payload, m.Gap, i)
		}
	}
	if s.Channel() != messages {
		t.Error("another Go channel")
	}
	must(t, s.Close())
	if _, open := <-messages; open {
		t.Error("the Go channel is open")
	}
}

func TestOnlyOneOfTheTwoGoChannelsCanBeUsed(t *testing.T) {
	rc := connect(t)
	for _, form := range []struct {
		use  func(*rediscluster.Subscription)
		want string
	}{
		{func(s *rediscluster.Subscription) { s.Channel(); s.ChannelWithSubscriptions() },
			"ChannelWithSubscriptions cannot be called after Channel"},
		{func(s *rediscluster.Subscription) { s.ChannelWithSubscriptions(); s.Channel() },
			"Channel cannot be called after ChannelWithSubscriptions"},
		{func(s *rediscluster.Subscription) { s.Channel(); s.Channel() }, ""},
	} {
		s := rc.Subscribe(bg, "go:two channels")
		var said any
		func() {
			defer func() { said = recover() }()
			form.use(s)
		}()
		if form.want == "" && said != nil || form.want != "" && !strings.Contains(fmt.Sprint(said), form.want) {
			t.Errorf("got %v, want %q", said, form.want)
		}
		must(t, s.Close())
	}
}

func TestContextEndsSubscription(t *testing.T) {
	rc := connect(t)
	ctx, cancel := context.WithCancel(bg)
	s := rc.Subscribe(ctx, "go:ends")
	receive[*rediscluster.Confirmation](t, s)
	messages := s.ChannelWithSubscriptions()
	cancel()
	if _, open := <-messages; open {
		t.Error("the Go channel is open")
	}
	_, err := s.Receive(bg)
	fails(t, err, rediscluster.ErrClosed)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, "the connection is closed", func() bool { return subscribers(t, rc, "go:ends") == 0 })
	fails(t, s.Subscribe(bg, "go:more"), rediscluster.ErrClosed)

}

// Every call of Receive fails with ErrClosed after the end of the context of Subscribe, whether it had ended before
// Subscribe and whether it is that of Receive too.
func TestReceiveAfterEndOfSubscribeContextReturnsErrClosed(t *testing.T) {
	rc := connect(t)
	canceled, cancel := context.WithCancel(bg)
	before := rc.Subscribe(canceled, "go:later")
	receive[*rediscluster.Confirmation](t, before)
	cancel()
	expired, cancel := context.WithDeadline(bg, time.Now())
	defer cancel()
	for _, ended := range []struct {
		s     *rediscluster.Subscription
		ctx   context.Context
		cause error
	}{
		{before, canceled, context.Canceled},
		{rc.Subscribe(canceled, "go:ended"), canceled, context.Canceled},
		{rc.PSubscribe(expired, "go:ended*"), expired, context.DeadlineExceeded},
		{rc.SSubscribe(expired), expired, context.DeadlineExceeded},
	} {
		for i := 0; i < 10; i++ {
			for _, ctx := range []context.Context{bg, ended.ctx} {
				_, err := ended.s.Receive(ctx)
				fails(t, err, rediscluster.ErrClosed)
				if !errors.Is(err, ended.cause) {
					t.Error(err)
				}
			}
		}
	}
}

func TestContextOfReceiveEndsTheReceiveOnly(t *testing.T) {
	rc := connect(t)
	s := rc.Subscribe(bg, "go:waits")
	defer s.Close()
	receive[*rediscluster.Confirmation](t, s)
	began := time.Now()
	_, err := s.ReceiveMessage(within(t, 50*time.Millisecond))
	fails(t, err, rediscluster.ErrTimeout)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Error(err, time.Since(began))
	}
	publish(t, rc, "PUBLISH", "go:waits", "later")
	same(t, receive[*rediscluster.Message](t, s).Payload, "later")
}

func TestRefusedSubscriptionIsAnErrorOfReceive(t *testing.T) {
	rc := connect(t)
	s := rc.Subscribe(bg)
	defer s.Close()
	fails(t, s.Subscribe(bg), rediscluster.ErrInvalid)
	must(t, s.Subscribe(bg, "go:ok"))
	same(t, receive[*rediscluster.Confirmation](t, s).Channel, "go:ok")

	closed, err := rediscluster.New(os.Getenv("RDC_URL"))
	must(t, err)
	must(t, closed.Close())
	_, err = closed.Subscribe(bg, "go:closed").Receive(within(t, 5*time.Second))
	fails(t, err, rediscluster.ErrClosed)
}

func TestClosedClientEndsSubscriptions(t *testing.T) {
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	must(t, err)
	s := rc.Subscribe(bg, "go:client")
	defer s.Close()
	receive[*rediscluster.Confirmation](t, s)
	messages := s.Channel()
	must(t, rc.Close())
	select {
	case m, open := <-messages:
		if open {
			t.Error(m)
		}
	case <-time.After(5 * time.Second):
		t.Error("the Go channel is open")
	}
}

func TestManySubscriptionsUseNoThreads(t *testing.T) {
	rc := connect(t)
	threads := func() int { return pprof.Lookup("threadcreate").Count() }
	const n = 200
	var ready, done sync.WaitGroup
	before, goroutines := threads(), runtime.NumGoroutine()
	for i := 0; i < n; i++ {
		s := rc.SSubscribe(bg, fmt.Sprint("go:many:", i))
		t.Cleanup(func() { s.Close() })
		ready.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			first := true
			for event := range s.ChannelWithSubscriptions() {
				if _, ok := event.(*rediscluster.Confirmation); ok && first {
					first = false
					ready.Done()
				} else if _, ok := event.(*rediscluster.Message); ok {
					return
				}
			}
		}()
	}
	ready.Wait()
	if more := threads() - before; more > 30 {
		t.Errorf("%d more OS threads for %d subscriptions", more, n)
	}
	// A reader and a forwarder for each, and one for all.
	if more := runtime.NumGoroutine() - goroutines; more > 2*n+10 {
		t.Errorf("%d more goroutines for %d subscriptions", more, n)
	}
	for i := 0; i < n; i++ {
		publish(t, rc, "SPUBLISH", fmt.Sprint("go:many:", i), "x")
	}
	done.Wait()
}

func TestKeyspaceNotificationNamesItsNode(t *testing.T) {
	rc := connect(t)
	node := "127.0.0.1:" + ctl(t, "primary-of", "key:go:note")
	configure := func(events string) {
		_, err := rc.Do(bg, "CONFIG", "SET", "notify-keyspace-events", events)
		must(t, err)
	}
	configure("KA")
	defer configure("")
	s := rc.PSubscribe(bg, "__keyspace@0__:go:note")
	defer s.Close()
	receive[*rediscluster.Confirmation](t, s)
	for {
		must(t, rc.Set(bg, "go:note", "x"))
		m, err := s.ReceiveMessage(within(t, 200*time.Millisecond))
		if err == nil {
			same(t, m.Payload, "set")
			same(t, m.Node, node)
			return
		}
	}
}

func TestKilledPrimaryIsAGapBeforeTheNextMessage(t *testing.T) {
	rc := connect(t)
	const channel = "go:gap"
	s := rc.SSubscribe(bg, channel)
	defer s.Close()
	receive[*rediscluster.Confirmation](t, s)
	other := rc.SSubscribe(bg, channel)
	defer other.Close()
	receive[*rediscluster.Confirmation](t, other)
	ctl(t, "wait-sync")
	victim := ctl(t, "primary-of", "key:"+channel)
	ctl(t, "kill", victim)
	defer func() {
		ctl(t, "restart", victim)
		ctl(t, "wait-healthy")
	}()
	ctx, cancel := context.WithTimeout(bg, 20*time.Second)
	defer cancel()
	for {
		event, err := s.Receive(ctx)
		if ctx.Err() != nil {
			t.Fatal("no gap within 20 s")
		}
		if gap, ok := event.(*rediscluster.Gap); err == nil && ok {
			same(t, [2]string{gap.Kind, gap.Channel}, [2]string{"smessage", channel})
			if gap.Reason == "" {
				t.Error("no reason")
			}
			break
		}
	}
	go func() {
		for ctx.Err() == nil {
			_, _ = rc.Do(ctx, "SPUBLISH", channel, "after")
			time.Sleep(20 * time.Millisecond)
		}
	}()
	for {
		m, err := other.ReceiveMessage(ctx)
		if ctx.Err() != nil {
			t.Fatal("no message within 20 s")
		}
		if err == nil {
			same(t, m.Payload, "after")
			if m.Gap == nil || m.Gap.Channel != channel {
				t.Errorf("the gap is %v", m.Gap)
			}
			return
		}
	}
}

func TestChannelEndsWithoutADescriptor(t *testing.T) {
	rc := connect(t)
	publish(t, rc, "PUBLISH", "a", "m") // opens what the client needs
	must(t, rc.Subscribe(bg, "a").Close())
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 0
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	s := rc.Subscribe(bg, "a")
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	defer s.Close()
	if _, err := s.Receive(bg); !errors.Is(err, rediscluster.ErrIO) {
		t.Fatalf("got %v", err)
	}
	select {
	case _, ok := <-s.Channel():
		if ok {
			t.Fatal("a message")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the channel stays open, and its goroutine asks again and again")
	}
}
