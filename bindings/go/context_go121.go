//go:build go1.21

package rediscluster

import "context"

// afterDone calls f, once, on a goroutine of its own when ctx is done, unless stop comes first:
// then stop says true.
func afterDone(ctx context.Context, f func()) (stop func() bool) {
	return context.AfterFunc(ctx, f)
}
