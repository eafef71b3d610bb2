//go:build !go1.21

package rediscluster

import (
	"context"
	"sync/atomic"
)

// afterDone calls f, once, on a goroutine of its own when ctx is done, unless stop comes first:
// then stop says true.
func afterDone(ctx context.Context, f func()) (stop func() bool) {
	var decided atomic.Bool
	stopped := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			if decided.CompareAndSwap(false, true) {
				f()
			}
		case <-stopped:
		}
	}()
	return func() bool {
		first := decided.CompareAndSwap(false, true)
		if first {
			close(stopped)
		}
		return first
	}
}
