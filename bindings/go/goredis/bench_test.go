package goredis_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// goroutines divides n operations among g goroutines.
func goroutines(g, n int, f func(i int)) {
	var all sync.WaitGroup
	var next atomic.Int64
	for j := 0; j < g; j++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				f(int(i))
			}
		}()
	}
	all.Wait()
}

// processorTime returns the time of this process in nanoseconds. The servers are other processes.
func processorTime() int64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// Benchmark compares the client with that of go-redis:
//
//	go test -run none -bench . -count 3
func Benchmark(b *testing.B) {
	ours, theirs := connect(b), original(b)
	key := func(i int) string { return fmt.Sprint("{", i%1000, "}bench") }
	for i := 0; i < 1000; i++ {
		must(b, ours.Set(bg, key(i), "0123456789012345678901234567890", 0).Err())
	}
	for i := 0; i < 100; i++ {
		must(b, ours.HSet(bg, "{hash}bench", fmt.Sprint("field ", i), i).Err())
	}
	for _, work := range []struct {
		name string
		run  func(c redis.UniversalClient, i int) error
	}{
		{"GET", func(c redis.UniversalClient, i int) error { return c.Get(bg, key(i)).Err() }},
		{"SET", func(c redis.UniversalClient, i int) error { return c.Set(bg, key(i), i, 0).Err() }},
		{"HGETALL of 100 fields", func(c redis.UniversalClient, i int) error { return c.HGetAll(bg, "{hash}bench").Err() }},
		{"pipeline of 100 GET", func(c redis.UniversalClient, i int) error {
			_, err := c.Pipelined(bg, func(p redis.Pipeliner) error {
				for j := 0; j < 100; j++ {
					p.Get(bg, key(7*i+j))
				}
				return nil
			})
			return err
		}},
		{"transaction of 2", func(c redis.UniversalClient, i int) error {
			_, err := c.TxPipelined(bg, func(p redis.Pipeliner) error {
				p.Set(bg, key(i), i, 0)
				p.Incr(bg, key(i))
				return nil
			})
			return err
		}},
		{"WATCH, GET and transaction", func(c redis.UniversalClient, i int) error {
			err := c.Watch(bg, func(tx *redis.Tx) error {
				tx.Get(bg, key(i))
				_, err := tx.TxPipelined(bg, func(p redis.Pipeliner) error { return p.Set(bg, key(i), i, 0).Err() })
				return err
			}, key(i))
			if err == redis.TxFailedErr {
				err = nil
			}
			return err
		}},
	} {
		for _, g := range []int{1, 16, 64} {
			for name, c := range map[string]redis.UniversalClient{"goredis": ours, "go-redis": theirs} {
				b.Run(fmt.Sprintf("%s/%d goroutines/%s", work.name, g, name), func(b *testing.B) {
					begun := processorTime()
					defer func() { b.ReportMetric(float64(processorTime()-begun)/float64(b.N), "cpu-ns/op") }()
					goroutines(g, b.N, func(i int) {
						if err := work.run(c, i); err != nil {
							b.Error(err)
						}
					})
				})
			}
		}
	}
}
