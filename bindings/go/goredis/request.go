package goredis

import (
	"errors"
	"strconv"
	"strings"
)

// request is one command that go-redis has written.
type request struct {
	raw  []byte   // the encoded command, without a ticket
	name string   // in lower case, if it is one of own; otherwise ""
	args [][]byte // if it has a name
	call *call    // nil without a ticket
}

// own are the commands that the connection executes itself, as they are about its state, and those that cannot
// be in a pipeline of the library.
var own = map[string]string{}

func init() {
	for _, name := range []string{
		"hello", "multi", "exec", "discard", "watch", "unwatch", "reset", "quit", "ping",
		"subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe",
		"scan", "xread", "xreadgroup", "info", "function", "latency", "memory",
		"blpop", "brpop", "brpoplpush", "blmove", "blmpop", "bzpopmin", "bzpopmax", "bzmpop",
	} {
		own[name] = name
	}
}

// placement is how a request is executed.
type placement int

const (
	together placement = iota // in a pipeline with those around it
	alone                     // by the library, and after those before it
	byConn                    // by the connection
)

func (r *request) placement() placement {
	switch r.name {
	case "", "ping":
		return together
	case "info", "function", "latency", "memory":
		if r.isOfOneNode() {
			return alone
		}
		return together
	case "scan", "blpop", "brpop", "brpoplpush", "blmove", "blmpop", "bzpopmin", "bzpopmax", "bzmpop":
		return alone
	case "xread", "xreadgroup":
		for _, arg := range r.args {
			if len(arg) == len("block") && strings.EqualFold(string(arg), "block") {
				return alone
			}
		}
		return together
	default:
		return byConn
	}
}

// reports are the commands whose reply describes one node. The library asks all nodes, and returns a map of
// their replies; go-redis expects one of them.
var reports = map[string][]string{
	"function": {"stats"},
	"latency":  {"doctor", "graph", "histogram", "history", "latest"},
	"memory":   {"doctor", "malloc-stats", "stats"},
}

// isOfOneNode reports whether any node's reply is the one that go-redis expects.
func (r *request) isOfOneNode() bool {
	if r.name == "info" {
		return true
	}
	for _, word := range reports[r.name] {
		if len(r.args) > 0 && strings.EqualFold(string(r.args[0]), word) {
			return true
		}
	}
	return false
}

var (
	errMalformed  = errors.New("goredis: a request is not encoded as RESP")
	errIncomplete = errors.New("goredis: a request is incomplete")
)

// nextRequest returns the first request and what follows it. It changes the bytes of a ticket.
func nextRequest(in []byte, calls *calls) (r request, rest []byte, err error) {
	n, rest, err := number(in, '*')
	if err != nil {
		return r, nil, err
	}
	begin := in
	for i := 0; i < n; i++ {
		var text []byte
		if text, rest, err = bulk(rest); err != nil {
			return r, nil, err
		}
		if i == 0 {
			r.call = calls.find(text)
		}
		switch {
		case i == 0 && r.call != nil:
			n--
			begin = replaceHeader(in, len(in)-len(rest), n)
			if n == 0 {
				break
			}
			if text, rest, err = bulk(rest); err != nil {
				return r, nil, err
			}
			r.name = ownName(text)
		case i == 0:
			r.name = ownName(text)
		case r.name != "":
			r.args = append(r.args, text)
		}
	}
	r.raw = begin[:len(begin)-len(rest)]
	return r, rest, nil
}

// hasTicket reports whether the first request has a ticket.
func (cs *calls) hasTicket(in []byte) bool {
	_, rest, err := number(in, '*')
	if err != nil {
		return false
	}
	text, _, err := bulk(rest)
	return err == nil && cs.find(text) != nil
}

// replaceHeader writes the header of an array of n elements in front of a position.
func replaceHeader(in []byte, at, n int) []byte {
	var header [24]byte
	text := append(strconv.AppendInt(append(header[:0], '*'), int64(n), 10), '\r', '\n')
	begin := in[at-len(text):]
	copy(begin, text)
	return begin
}

// ownName returns the name of a command of own, or "".
func ownName(name []byte) string {
	var lower [12]byte
	if len(name) > len(lower) {
		return ""
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return own[string(lower[:len(name)])]
}

// isSubscribe reports whether the first request subscribes. It may be incomplete.
func isSubscribe(in []byte) bool {
	if _, rest, err := number(in, '*'); err == nil {
		if name, _, err := bulk(rest); err == nil {
			switch ownName(name) {
			case "subscribe", "psubscribe", "ssubscribe":
				return true
			}
		}
	}
	return false
}

// bulk reads "$3\r\nfoo\r\n".
func bulk(in []byte) (text, rest []byte, err error) {
	n, rest, err := number(in, '$')
	if err == nil && len(rest) < n+2 {
		err = errIncomplete
	}
	if err != nil {
		return nil, nil, err
	}
	return rest[:n], rest[n+2:], nil
}

// number reads "$3\r\n".
func number(in []byte, kind byte) (n int, rest []byte, err error) {
	if len(in) > 0 && in[0] != kind {
		return 0, nil, errMalformed
	}
	for i := 1; i < len(in); i++ {
		switch c := in[i]; {
		case c >= '0' && c <= '9':
			n = 10*n + int(c-'0')
		case c == '\r' && i+1 < len(in):
			return n, in[i+2:], nil
		case c != '\r':
			return 0, nil, errMalformed
		}
	}
	return 0, nil, errIncomplete
}
