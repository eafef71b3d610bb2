package rediscluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

// inParallel runs f on n goroutines and fails if one of them returns an error.
func inParallel(t testing.TB, n int, f func(g int) error) {
	t.Helper()
	all := make(chan error, n)
	for g := 0; g < n; g++ {
		go func(g int) { all <- f(g) }(g)
	}
	for g := 0; g < n; g++ {
		if err := <-all; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

func TestConcurrentGoroutinesGetTheirOwnReplies(t *testing.T) {
	rc := connect(t)
	cancellable, cancel := context.WithCancel(bg)
	defer cancel()
	inParallel(t, 64, func(g int) error {
		key, hash := fmt.Sprint("g:", g), fmt.Sprint("h:", g)
		for i := 0; i < 200; i++ {
			ctx := bg
			switch i % 3 {
			case 1:
				ctx = cancellable
			case 2:
				timed, cancel := context.WithTimeout(bg, time.Minute)
				defer cancel()
				ctx = timed
			}
			want := fmt.Sprint(g, " ", i)
			if err := rc.Set(ctx, key, want); err != nil {
				return err
			}
			if got, err := rc.Get(ctx, key); err != nil || got != want {
				return fmt.Errorf("%q instead of %q: %v", got, want, err)
			}
			if _, err := rc.Do(ctx, "HSET", hash, "field", want); err != nil {
				return err
			}
			v, err := rc.Do(ctx, "HGETALL", hash)
			if all, _ := v.Map(); err != nil || all["field"].String() != fmt.Sprintf("%q", want) {
				return fmt.Errorf("%v instead of %q: %v", v, want, err)
			}
			// An error is the command's own, and its message does not name a pipeline.
			_, err = rc.Do(ctx, "LPUSH", key, "x")
			var e *rediscluster.Error
			if !errors.As(err, &e) || !strings.HasPrefix(e.Message, "WRONGTYPE ") || e.Node == "" || !e.Sent {
				return fmt.Errorf("WRONGTYPE, not %v", err)
			}
			if _, err := rc.Do(ctx, "SUNION", "a", "b"); !errors.Is(err, rediscluster.ErrCrossSlot) || strings.Contains(err.Error(), "pipeline") {
				return fmt.Errorf("CROSSSLOT, not %v", err)
			}
		}
		return nil
	})
}

func TestRefusedWriteDoesNotFailReadsOfItsBatch(t *testing.T) {
	rc := connect(t)
	must(t, rc.Set(bg, "among", "text"))
	ctl(t, "wait-sync")
	readonly, err := rc.Readonly()
	must(t, err)
	defer readonly.Close()
	inParallel(t, 32, func(g int) error {
		for i := 0; i < 100; i++ {
			if g%4 == 0 {
				if err := readonly.Set(bg, "among", "other"); !errors.Is(err, rediscluster.ErrReadOnly) {
					return fmt.Errorf("READONLY, not %v", err)
				}
			} else if text, err := readonly.Get(bg, "among"); err != nil || text != "text" {
				return fmt.Errorf("%q: %v", text, err)
			}
		}
		return nil
	})
}

// The binding does not know all blocking commands: the library does, and refuses them in a pipeline.
func TestBlockingCommandsDoNotDelayOthers(t *testing.T) {
	rc := connect(t)
	_, err := rc.Do(bg, "DEL", "{b}list", "{b}stream")
	must(t, err)
	stop, cancel := context.WithCancel(bg)
	var blocking sync.WaitGroup
	for g := 0; g < 8; g++ {
		blocking.Add(1)
		go func(g int) {
			defer blocking.Done()
			var err error
			if g%2 == 0 {
				_, err = rc.Do(stop, "BLPOP", "{b}list", 0)
			} else {
				_, err = rc.Do(stop, "XREAD", "BLOCK", 0, "STREAMS", "{b}stream", "$")
			}
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}(g)
	}
	eventually(t, "all 8 clients block", func() bool { return blocked(t, "{b}list") == 8 })
	begun := time.Now()
	inParallel(t, 16, func(g int) error {
		for i := 0; i < 100; i++ {
			if err := rc.Set(bg, fmt.Sprint("{b}", g), i); err != nil {
				return err
			}
		}
		return nil
	})
	if took := time.Since(begun); took > 4*time.Second {
		t.Error("the other commands took", took)
	}
	cancel()
	blocking.Wait()
}

func TestUnresponsiveNodeDelaysOtherNodesOnlyBriefly(t *testing.T) {
	rc := connect(t, rediscluster.WithOption("attempt_timeout_ms", "150"), rediscluster.WithTimeout(150*time.Millisecond))
	stopped := ctl(t, "primary-of", "key:stopped")
	var keys []string
	for i := 0; len(keys) < 8; i++ {
		if key := fmt.Sprint("responsive:", i); ctl(t, "primary-of", "key:"+key) != stopped {
			keys = append(keys, key)
			must(t, rc.Set(bg, key, key))
		}
	}
	must(t, rc.Set(bg, "stopped", 1))
	cont := stop(t, stopped)
	finished := make(chan struct{})
	var waiting sync.WaitGroup
	for g := 0; g < 8; g++ {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			for i := 0; i < 4; i++ {
				_ = rc.Set(bg, "stopped", 1) // fails or not
			}
		}()
	}
	go func() { waiting.Wait(); close(finished) }()
	slow, worst := 0, time.Duration(0)
	var lock sync.Mutex
	inParallel(t, 8, func(g int) error {
		for {
			select {
			case <-finished:
				return nil
			default:
			}
			begun := time.Now()
			_, err := rc.Get(bg, keys[g])
			took := time.Since(begun)
			lock.Lock()
			if err != nil || took > 100*time.Millisecond {
				slow++
			}
			if took > worst {
				worst = took
			}
			lock.Unlock()
		}
	})
	cont()
	t.Logf("%d reads of responsive nodes were slow, the slowest took %v", slow, worst)
	// Only the reads that were in one batch with the first writes to the stopped node.
	if slow > 20 {
		t.Fatalf("%d slow reads", slow)
	}
}

func TestCancelledContextLeavesQueue(t *testing.T) {
	rc := connect(t)
	for round := 0; round < 50; round++ {
		ctx, cancel := context.WithCancel(bg)
		started := make(chan struct{})
		var once sync.Once
		go func() { <-started; cancel() }()
		inParallel(t, 32, func(g int) error {
			for i := 0; ; i++ {
				key := fmt.Sprint("leave:", g)
				err := rc.Set(ctx, key, g)
				if errors.Is(err, context.Canceled) {
					return nil
				} else if err != nil {
					return err
				}
				if i == 3 {
					once.Do(func() { close(started) })
				}
				if n, err := rc.Get(bg, key); err != nil || n != fmt.Sprint(g) {
					return fmt.Errorf("%q: %v", n, err)
				}
			}
		})
		cancel()
	}
}
