package rediscluster_test

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// resident returns the resident memory of this process, of Go and of C, in bytes.
func resident(t testing.TB) int {
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	var size, pages int
	_, err = fmt.Sscan(string(statm), &size, &pages)
	must(t, err)
	return pages * os.Getpagesize()
}

func TestSubscriptionMemoryIsFreed(t *testing.T) {
	rc := connect(t)
	const large = 20000 // more than an inbox holds
	ctx := within(t, time.Minute)
	payloads := []string{strings.Repeat("x", 100), strings.Repeat("x", 5000), strings.Repeat("x", large)}
	work := func(rounds int) {
		for i := 0; i < rounds; i++ {
			s := rc.SSubscribe(bg, "go:memory")
			_, err := s.Receive(ctx)
			must(t, err)
			p := rc.Pipeline()
			for j := 0; j < 100; j++ {
				p.Do("SPUBLISH", "go:memory", payloads[j%len(payloads)])
			}
			_, err = p.Exec(bg)
			must(t, err)
			for j := 0; j < 90; j++ { // the others are dropped
				_, err := s.Receive(ctx)
				must(t, err)
			}
			must(t, s.Close())
		}
	}
	work(30)
	before := resident(t)
	work(150)
	// Each round has 800 kB of messages: 120 MB in all. The race detector needs some memory of its own.
	grown := resident(t) - before
	t.Logf("the resident memory grew by %d KiB in 15,000 messages", grown>>10)
	if grown > 60<<20 {
		t.Fatalf("the resident memory grew by %d bytes", grown)
	}
}

// This package has no finalizers: memory that is not freed at once is leaked.
func TestReplyMemoryIsFreed(t *testing.T) {
	rc := connect(t)
	_, err := rc.Del(bg, "list")
	must(t, err)
	args := []any{"RPUSH", "list"}
	for i := 0; i < 500; i++ {
		args = append(args, fmt.Sprintf("%032d", i))
	}
	_, err = rc.Do(bg, args...)
	must(t, err)
	must(t, rc.Set(bg, "text", string(make([]byte, 50000))))
	work := func(rounds int) {
		for i := 0; i < rounds; i++ {
			ctx, cancel := context.WithCancel(bg)
			_, err := rc.Do(ctx, "LRANGE", "list", 0, -1)
			must(t, err)
			_, err = rc.Get(bg, "text")
			must(t, err)
			replies, err := rc.Pipeline().Get("text").Do("LRANGE", "list", 0, -1).Do("LPUSH", "text", 1).Exec(bg)
			same(t, len(replies) == 3 && err != nil, true)
			derived, err := rc.With("timeout_ms", "100")
			must(t, err)
			must(t, derived.Close())
			cancel()
			_, err = rc.Do(ctx, "BLPOP", "none", 0)
			same(t, err != nil, true)
		}
	}
	work(300)
	before := resident(t)
	work(2000)
	grown := resident(t) - before
	t.Logf("the resident memory grew by %d KiB in 10,000 calls", grown>>10)
	// One leaked reply per round would be 2,000 times 50,000 bytes.
	if grown > 24<<20 {
		t.Fatalf("the resident memory grew by %d bytes", grown)
	}
}
