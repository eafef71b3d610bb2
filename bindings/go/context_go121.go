//go:build go1.21

package rediscluster

import "context"

// afterDone calls f once, on its own goroutine, when ctx is done. stop prevents that call and returns
// true, or returns false if f was already called.
func afterDone(ctx context.Context, f func()) (stop func() bool) {
	return context.AfterFunc(ctx, f)
}
