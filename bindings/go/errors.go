package rediscluster

import (
	"context"
	"errors"
	"strings"
)

// Nil is the error of a nil value: the key, field or element does not exist.
//
//lint:ignore ST1012 programs for go-redis know this name
var Nil = errors.New("rediscluster: nil")

// ErrTxFailed is the error of a transaction that did not run, because another client has changed a
// key that [Client.Watch] watches. Watch again, or give up.
var ErrTxFailed = errors.New("rediscluster: a watched key has changed, so the transaction did not run")

// Code is the kind of an [Error]. Each code is itself an error, so that
// errors.Is(err, rediscluster.ErrTimeout) tests for it.
type Code int32

// Error returns the name of the code: "TIMEOUT".
func (c Code) Error() string { return nativeCodeName(c) }

// Error is the failure of a command, reported by the server or by the library. To inspect it:
//
//	var e *rediscluster.Error
//	if errors.As(err, &e) && !e.Sent { ... } // sending it again is safe
type Error struct {
	// Code is the kind of error.
	Code Code
	// Message is one line. It begins with the name of the code or, for ErrServer, with the server's
	// own error code. It contains no values and no passwords.
	Message string
	// Node is the "host:port" of the node that the error concerns, or "".
	Node string
	// Sent is false if the command certainly did not run, so that sending it again is safe, and
	// true if it ran or may have run.
	Sent bool

	cause error
}

// Error returns the message.
func (e *Error) Error() string { return "rediscluster: " + e.Message }

// Is reports whether target is the code of this error.
func (e *Error) Is(target error) bool { return target == error(e.Code) }

// Unwrap returns the error of the context that ended the call, context.Canceled or
// context.DeadlineExceeded, or nil if no context did.
func (e *Error) Unwrap() error { return e.cause }

func invalid(message string) *Error {
	return &Error{Code: ErrInvalid, Message: "INVALID " + message}
}

// creationError is the error of a client that could not be created. The message begins with the name of its code.
func creationError(message string) *Error {
	name, _, _ := strings.Cut(message, " ")
	for code := ErrServer; ; code++ {
		switch nativeCodeName(code) {
		case name:
			return &Error{Code: code, Message: message}
		case "UNKNOWN": // a code of a later library, or no code
			return &Error{Code: ErrInternal, Message: message}
		}
	}
}

// contextError is the error of a call that was ended by its context.
func contextError(cause error, sent bool) *Error {
	switch {
	case errors.Is(cause, context.DeadlineExceeded):
		return &Error{Code: ErrTimeout, Message: "TIMEOUT the call was not finished by the deadline of its context", Sent: sent, cause: cause}
	default:
		return &Error{Code: ErrInterrupted, Message: "INTERRUPTED the context of the call was cancelled", Sent: sent, cause: cause}
	}
}
