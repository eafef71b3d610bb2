package rediscluster

import (
	"math"
	"strconv"
	"time"
)

// encoder appends one command to a buffer. The first argument that cannot be encoded becomes the error.
type encoder struct {
	buf []byte
	err *Error
	at  int // the number of arguments so far
}

// begin begins a command of so many arguments, whose first words are encoded already.
func (e *encoder) begin(args, words int, encoded string) {
	e.buf = append(appendHeader(e.buf, '*', args), encoded...)
	e.at = words
}

func (e *encoder) text(text string) {
	e.buf = appendText(e.buf, text)
	e.at++
}

func (e *encoder) int(n int64) {
	e.buf = appendInt(e.buf, n)
	e.at++
}

func (e *encoder) float(n float64) {
	e.buf = appendFloat(e.buf, n, 64)
	e.at++
}

func (e *encoder) value(value any) {
	var ok bool
	if e.buf, ok = appendArg(e.buf, value); !ok && e.err == nil {
		e.err = badArgument(e.at, value)
	}
	e.at++
}

// seconds rounds up to whole seconds, so that a time is never shorter than was asked for.
func (e *encoder) seconds(d time.Duration) { e.int(roundUp(d, time.Second)) }

func (e *encoder) milliseconds(d time.Duration) { e.int(roundUp(d, time.Millisecond)) }

// timeout is that of a blocking command, which may have a fraction. 0 means no limit.
func (e *encoder) timeout(d time.Duration) {
	e.text(strconv.FormatFloat(float64(roundUp(d, time.Millisecond))/1000, 'f', -1, 64))
}

func (e *encoder) unixTime(t time.Time)   { e.int(t.Unix()) }
func (e *encoder) unixMillis(t time.Time) { e.int(t.UnixMilli()) }

func roundUp(d, unit time.Duration) int64 {
	if d > 0 && d <= math.MaxInt64-unit {
		d += unit - 1
	}
	return int64(d / unit)
}

func encodeSetPX(e *encoder, key string, value any, ttl time.Duration) {
	e.begin(5, 1, "$3\r\nSET\r\n")
	e.text(key)
	e.value(value)
	e.text("PX")
	e.milliseconds(ttl)
}
