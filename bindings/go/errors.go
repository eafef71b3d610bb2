package rediscluster

import (
	"context"
	"errors"
)

// Nil is the error of a value that is not there: no such key, field or element.
var Nil = errors.New("rediscluster: nil")

// Code says what kind of error an [Error] is. Each is an error itself, so that
// errors.Is(err, rediscluster.ErrTimeout) asks for it.
type Code int32

// Error is the name of the code: "TIMEOUT".
func (c Code) Error() string { return nativeCodeName(c) }

// Error is what became of a command that failed, told by the server or by the library. To get at
// it:
//
//	var e *rediscluster.Error
//	if errors.As(err, &e) && !e.Sent { ... } // sending it again is safe
type Error struct {
	// Code is the kind of error.
	Code Code
	// Message is one line that begins with the name of the code or, for ErrServer, with the
	// server's own first word. It holds no value and no password.
	Message string
	// Node is the "host:port" that the error is about, or "".
	Node string
	// Sent is false if the command certainly did not run, so that sending it again is safe, and
	// true if it ran or may have run.
	Sent bool

	cause error
}

// Error is the message.
func (e *Error) Error() string { return "rediscluster: " + e.Message }

// Is says whether target is the code of this error.
func (e *Error) Is(target error) bool { return target == error(e.Code) }

// Unwrap is the error of the context that ended the call: context.Canceled or
// context.DeadlineExceeded. nil if none did.
func (e *Error) Unwrap() error { return e.cause }

func invalid(message string) *Error {
	return &Error{Code: ErrInvalid, Message: "INVALID " + message}
}

// ended is the error of a call that its context has ended.
func ended(cause error, sent bool) *Error {
	switch {
	case errors.Is(cause, context.DeadlineExceeded):
		return &Error{Code: ErrTimeout, Message: "TIMEOUT the context's deadline passed", Sent: sent, cause: cause}
	default:
		return &Error{Code: ErrInterrupted, Message: "INTERRUPTED the context was cancelled", Sent: sent, cause: cause}
	}
}
