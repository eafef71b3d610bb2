package rediscluster

import (
	"context"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func contended(c *Client) bool {
	c.batcher.lock.Lock()
	defer c.batcher.lock.Unlock()
	return c.batcher.contention > 0
}

// Short calls into C keep their processors, so goroutines with a command find each other only if
// they yield.
func TestContentionBeginsWithGoroutinesAndEndsWithThem(t *testing.T) {
	for _, processors := range []int{1, runtime.NumCPU()} {
		func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
			rc, err := New(os.Getenv("RDC_URL"))
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			get := func() {
				if _, err := rc.Do(context.Background(), "EXISTS", "contention"); err != nil {
					t.Error(err)
				}
			}
			for i := 0; i < 10*probeInterval; i++ {
				if get(); contended(rc) {
					t.Fatalf("%d processors: one goroutine found contention", processors)
				}
			}
			var seen atomic.Int64
			var all sync.WaitGroup
			for g := 0; g < 16; g++ {
				all.Add(1)
				go func() {
					defer all.Done()
					for i := 0; i < 200; i++ {
						if get(); contended(rc) {
							seen.Add(1)
						}
					}
				}()
			}
			all.Wait()
			// All but the first and the last commands of 3,200.
			if seen.Load() < 2000 {
				t.Errorf("%d processors: %d of 3200 commands found contention", processors, seen.Load())
			}
			for i := 0; i < 2*contendedSends; i++ {
				get()
			}
			if contended(rc) {
				t.Errorf("%d processors: contention did not end", processors)
			}
		}()
	}
}
