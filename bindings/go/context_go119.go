//go:build !go1.21

package rediscluster

import (
	"context"
	"sync/atomic"
)

// afterDone calls f once, on its own goroutine, when ctx is done. stop prevents that call and returns
// true, or returns false if f was already called.
func afterDone(ctx context.Context, f func()) (stop func() bool) {
	var claimed atomic.Bool
	stopped := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			if claimed.CompareAndSwap(false, true) {
				f()
			}
		case <-stopped:
		}
	}()
	return func() bool {
		first := claimed.CompareAndSwap(false, true)
		if first {
			close(stopped)
		}
		return first
	}
}
