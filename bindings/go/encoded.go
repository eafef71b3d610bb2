package rediscluster

import (
	"strconv"
	"unsafe"
)

// Encoded is a command that is encoded as RESP already: "*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n". It is the
// only argument of [Client.Do], [Client.DoTo] or [Pipeline.Do]; for a pipeline it may be several commands.
// It is meant for programs that get commands in this form and pass the replies on with [Value.AppendRESP], such
// as proxies and adapters. A reply that is an aggregate can only be passed on: it has no Slice and no Map.
type Encoded []byte

// count returns the number of commands, or -1 if they are malformed.
func (e Encoded) count() int {
	n := 0
	for len(e) > 0 {
		args, rest := e.length('*')
		if args < 1 {
			return -1
		}
		for ; args > 0; args-- {
			size, text := rest.length('$')
			if size < 0 || size > len(text)-2 || text[size] != '\r' || text[size+1] != '\n' {
				return -1
			}
			rest = text[size+2:]
		}
		e = rest
		n++
	}
	return n
}

// length reads a line such as "$3\r\n", and returns its number and what follows, or -1.
func (e Encoded) length(kind byte) (int, Encoded) {
	if len(e) < 4 || e[0] != kind {
		return -1, nil
	}
	n := 0
	for i, c := range e[1:] {
		switch {
		case c >= '0' && c <= '9' && i < 10:
			n = 10*n + int(c-'0')
		case c == '\r' && i > 0 && i+2 < len(e) && e[i+2] == '\n':
			return n, e[i+3:]
		default:
			return -1, nil
		}
	}
	return -1, nil
}

// name returns the first argument, or nothing if the command is malformed.
func (e Encoded) name() Encoded {
	if args, rest := e.length('*'); args > 0 {
		if size, text := rest.length('$'); size >= 0 && size <= len(text) {
			return text[:size]
		}
	}
	return nil
}

// AppendRESP appends the reply, encoded as RESP 3.
func (v Value) AppendRESP(buf []byte) []byte {
	switch {
	case v.kind == kindEncoded:
		return append(buf, v.text()...)
	case v.kind == KindError:
		return appendLine(buf, '-', v.err().Message)
	case v.kind.hasText():
		return appendScalar(buf, v.kind, v.num, v.text())
	}
	buf = appendScalar(buf, v.Kind(), v.num, "")
	if v.kind.hasElements() {
		for _, element := range v.elements() {
			buf = element.AppendRESP(buf)
		}
	}
	return buf
}

// appendRESP does the same for a row of a reply, without a value for each element.
func (d *decoder) appendRESP(buf []byte, at int) []byte {
	r := &d.rows[at]
	text := nativeText(r)
	buf = appendScalar(buf, Kind(r.kind), int64(r.num), *(*string)(unsafe.Pointer(&text)))
	if Kind(r.kind).hasElements() {
		for i := 0; i < int(r.num); i++ {
			buf = d.appendRESP(buf, int(r.first)+i)
		}
	}
	return buf
}

// appendScalar appends a value, or the header of an aggregate with n elements.
func appendScalar(buf []byte, kind Kind, n int64, text string) []byte {
	switch kind {
	case KindString:
		return appendText(buf, text)
	case KindStatus:
		return appendLine(buf, '+', text)
	case KindError:
		return appendLine(buf, '-', text)
	case KindInteger:
		buf = strconv.AppendInt(append(buf, ':'), n, 10)
		return append(buf, '\r', '\n')
	case KindDouble:
		return appendLine(buf, ',', text)
	case KindBigNum:
		return appendLine(buf, '(', text)
	case KindBool:
		if n != 0 {
			return append(buf, "#t\r\n"...)
		}
		return append(buf, "#f\r\n"...)
	case KindVerbatim:
		buf = appendHeader(buf, '=', len(text)+4)
		return append(append(append(buf, "txt:"...), text...), '\r', '\n')
	case KindMap:
		return appendHeader(buf, '%', int(n)/2)
	case KindSet:
		return appendHeader(buf, '~', int(n))
	case KindPush:
		return appendHeader(buf, '>', int(n))
	case KindArray:
		return appendHeader(buf, '*', int(n))
	default:
		return append(buf, "_\r\n"...)
	}
}

// appendLine appends a line; line breaks within become spaces.
func appendLine(buf []byte, kind byte, text string) []byte {
	buf = append(buf, kind)
	at := len(buf)
	buf = append(buf, text...)
	for i := at; i < len(buf); i++ {
		if buf[i] == '\r' || buf[i] == '\n' {
			buf[i] = ' '
		}
	}
	return append(buf, '\r', '\n')
}
