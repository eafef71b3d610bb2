//go:build go1.21

package rediscluster

/*
#include <stdint.h>
*/
import "C"

import (
	"context"
	"log/slog"
	"sync/atomic"
	"unsafe"
)

var logger atomic.Pointer[slog.Logger]

// slogLevels are the levels of the library, 1 to 4.
var slogLevels = [...]slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug}

// SetLogger makes the library log to logger: one line for each event, such as a lost connection, a failover or a
// refused password, without values and passwords. Its least level is the one that logger has when SetLogger is
// called. nil turns logging off. The logger is that of the whole process, and the environment variable RDC_LOG,
// which logs to standard error, is not regarded after a call.
func SetLogger(l *slog.Logger) {
	level := 0
	if l != nil {
		for i, of := range slogLevels {
			if l.Enabled(context.Background(), of) {
				level = i + 1
			}
		}
	}
	logger.Store(l)
	nativeSetLogger(level)
}

// rdcgoLog is called by the library, on the thread of a call into it.
//
//export rdcgoLog
func rdcgoLog(_ unsafe.Pointer, level C.int32_t, message *C.char) {
	if l := logger.Load(); l != nil && level >= 1 && int(level) <= len(slogLevels) {
		l.Log(context.Background(), slogLevels[level-1], C.GoString(message))
	}
}
