package goredis

import (
	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/redis/go-redis/v9"
)

// failure is the error of a command. errors.As finds the *rediscluster.Error in it, which tells whether the
// command was sent.
type failure struct{ cause *rediscluster.Error }

// Error returns the message as a server would send it.
func (e *failure) Error() string { return e.cause.Message }

// Unwrap returns the *rediscluster.Error, and with it the error of a context.
func (e *failure) Unwrap() error { return e.cause }

// Is reports whether target is the error of go-redis for this one.
func (e *failure) Is(target error) bool {
	switch e.cause.Code {
	case rediscluster.ErrClosed:
		return target == redis.ErrClosed
	case rediscluster.ErrCrossSlot:
		return target == error(redis.ErrCrossSlot)
	default:
		return false
	}
}

// replyError is the error that a server replied with, or would reply with: a redis.Error.
type replyError struct{ failure }

// RedisError marks the error for go-redis.
func (e *replyError) RedisError() {}

// networkError is the error of a call that got no reply: a net.Error.
type networkError struct{ failure }

// Timeout reports whether the time of the call was over.
func (e *networkError) Timeout() bool { return e.cause.Code == rediscluster.ErrTimeout }

// Temporary belongs to net.Error.
func (e *networkError) Temporary() bool { return e.Timeout() }

// newError returns an error of the kind that go-redis would return.
func newError(cause *rediscluster.Error) error {
	switch cause.Code {
	case rediscluster.ErrServer, rediscluster.ErrAuth, rediscluster.ErrDown, rediscluster.ErrCrossSlot,
		rediscluster.ErrRedirects, rediscluster.ErrReadOnly:
		return &replyError{failure{cause}}
	case rediscluster.ErrTimeout, rediscluster.ErrIO, rediscluster.ErrConnect, rediscluster.ErrTLS:
		return &networkError{failure{cause}}
	default:
		return &failure{cause}
	}
}
