package goredis

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Each command gives back its call, also after an error; each transaction its connection; each subscription its
// goroutines.
func TestNothingIsHeldAfterCommandsBounded(t *testing.T) {
	ctx := context.Background()
	rdb, err := New(os.Getenv("RDC_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	work := func() {
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		rdb.Set(ctx, "held", 1, 0)
		rdb.LPush(ctx, "held", 1)
		rdb.Get(cancelled, "held")
		_, _ = rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.LPush(ctx, "held", 1); return p.Get(ctx, "none").Err() })
		_, _ = rdb.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Incr(ctx, "a"); p.Incr(ctx, "b"); return nil })
		_ = rdb.Watch(ctx, func(tx *redis.Tx) error { return tx.Get(ctx, "held").Err() }, "held")
		sub := rdb.Subscribe(ctx, "held")
		if _, err := sub.Receive(ctx); err != nil {
			t.Error(err)
		}
		_ = sub.Ping(ctx)
		_ = sub.Close()
	}
	work()
	begun := runtime.NumGoroutine()
	for i := 0; i < 50; i++ {
		work()
	}
	// The first command opens a connection, whose HELLO is a command too.
	if calls := &rdb.hooks.calls; len(calls.all) > 2 || len(calls.free) != len(calls.all) {
		t.Errorf("%d calls, %d of them free", len(calls.all), len(calls.free))
	}
	idle := 0
	for _, clients := range rdb.pins.idle {
		idle += len(clients)
	}
	if idle != 1 {
		t.Errorf("%d idle pinned connections", idle)
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > begun; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines instead of %d", runtime.NumGoroutine(), begun)
		}
	}
}

// The first argument of a command may be any text, also one that looks like what the adapter adds.
func TestCommandThatBeginsLikeATicketIsACommand(t *testing.T) {
	ctx := context.Background()
	rdb, err := New(os.Getenv("RDC_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	for _, name := range []string{"\x00", "\x000", "\x00999", "\x00x", "\x00\x00\x00\x00\x00\x00\x00\x00\x000"} {
		if err := rdb.Do(ctx, name, "x").Err(); !redis.HasErrorPrefix(err, "unknown command") {
			t.Errorf("%q: %v", name, err)
		}
		cmds, _ := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Do(ctx, name, "x")
			p.Do(ctx, name, "x")
			return p.Ping(ctx).Err()
		})
		for i, cmd := range cmds[:2] {
			if !redis.HasErrorPrefix(cmd.Err(), "unknown command") {
				t.Errorf("%q at %d: %v", name, i, cmd.Err())
			}
		}
		if err := cmds[2].Err(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
