package goredis

import (
	"context"
	"errors"
	"strings"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

// session executes the requests of one connection.
type session struct {
	rc    *rediscluster.Client
	calls *calls
	node  string // "host:port" of the node that all commands are for, or ""

	call     *call // of the requests that are executed; nil without a ticket
	position int   // of the next command among those of the call

	pins     *pins
	pinned   *rediscluster.Client // while keys are watched
	pinnedTo string               // its node
	multi    bool
	queued   []byte // the commands after MULTI
	count    int    // the number of them
}

// execute appends the replies to requests. An error breaks the connection.
func (s *session) execute(out, requests []byte) ([]byte, error) {
	s.call, s.position = nil, 0
	for len(requests) > 0 {
		begin := requests
		var batch []byte // adjacent commands
		n := 0
		last := request{} // the command behind the batch, if it cannot be part of it
		for len(requests) > 0 && last.raw == nil {
			if n > 0 && s.calls.hasTicket(requests) {
				break // of another call: after those before it
			}
			r, rest, err := nextRequest(requests, s.calls)
			if err != nil {
				return out, err
			}
			if r.call != nil {
				s.call, s.position = r.call, 0
				begin = requests[len(requests)-len(rest)-len(r.raw):]
			}
			requests = rest
			if s.isQueued(&r) || r.placement() == together {
				n++
				batch = begin[:len(begin)-len(rest)]
			} else {
				last = r
			}
		}
		out = s.plain(out, batch, n)
		switch {
		case last.raw == nil:
		case last.isOfOneNode() && s.node == "" && s.pinned == nil:
			v, err := s.rc.DoTo(s.context(), "random", rediscluster.Encoded(last.raw))
			out = s.reply(out, v, err)
		case last.placement() == alone:
			v, err := s.do(last.raw)
			out = s.reply(out, v, err)
		default:
			out = s.own(out, last)
		}
	}
	return out, nil
}

// isQueued reports whether a request is part of a transaction.
func (s *session) isQueued(r *request) bool {
	return s.multi && r.name != "exec" && r.name != "discard" && r.name != "reset"
}

func (s *session) context() context.Context {
	if s.call == nil {
		return context.Background()
	}
	return s.call.ctx
}

// plain executes or queues commands that are not about the state of the connection.
func (s *session) plain(out, batch []byte, n int) []byte {
	switch {
	case n == 0:
		return out
	case s.multi:
		s.queued = append(s.queued, batch...)
		s.count += n
		for ; n > 0; n-- {
			out = append(out, "+QUEUED\r\n"...)
		}
		return out
	case n == 1:
		v, err := s.do(rediscluster.Encoded(batch))
		return s.reply(out, v, err)
	case s.node != "" || s.pinned != nil:
		return s.oneByOne(out, batch)
	default:
		return s.pipeline(out, batch, n)
	}
}

// do executes one command where the connection executes them.
func (s *session) do(command rediscluster.Encoded) (rediscluster.Value, error) {
	ctx := s.context()
	switch {
	case s.node != "":
		return s.rc.DoTo(ctx, s.node, command)
	case s.pinned == nil:
		return s.rc.Do(ctx, command)
	}
	v, err := s.pinned.Do(ctx, command)
	var e *rediscluster.Error
	if errors.As(err, &e) && !e.Sent && ctx.Err() == nil {
		// A command for another node than that of the watched keys: nothing is watched there.
		return s.rc.Do(ctx, command)
	}
	return v, err
}

func (s *session) oneByOne(out, batch []byte) []byte {
	for len(batch) > 0 {
		r, rest, err := nextRequest(batch, nil)
		if err != nil {
			return out // not possible: execute has read it
		}
		v, err := s.do(r.raw)
		out, batch = s.reply(out, v, err), rest
	}
	return out
}

func (s *session) pipeline(out, batch []byte, n int) []byte {
	replies, err := s.rc.Pipeline().Do(rediscluster.Encoded(batch)).Exec(s.context())
	if replies == nil {
		for ; n > 0; n-- {
			out = s.reply(out, rediscluster.Value{}, err)
		}
		return out
	}
	for _, v := range replies {
		out = s.reply(out, v, v.Err())
	}
	return out
}

// reply appends the reply to the next command of the call.
func (s *session) reply(out []byte, v rediscluster.Value, err error) []byte {
	position := s.position
	s.position++
	if err == nil {
		return v.AppendRESP(out)
	}
	e := withoutPosition(err)
	s.call.fail(position, e)
	return appendError(out, e)
}

// withoutPosition returns the error without "Command # 2 (SET foo) of pipeline: ", which other clients do not say.
func withoutPosition(err error) *rediscluster.Error {
	var e *rediscluster.Error
	if !errors.As(err, &e) {
		return &rediscluster.Error{Code: rediscluster.ErrInternal, Message: "INTERNAL " + err.Error()}
	}
	const end = ") of pipeline: "
	if at := strings.Index(e.Message, end); at >= 0 && strings.HasPrefix(e.Message, "Command # ") {
		copied := *e
		copied.Message = e.Message[at+len(end):]
		return &copied
	}
	return e
}

func appendError(out []byte, e *rediscluster.Error) []byte {
	return append(append(append(out, '-'), strings.Map(oneLine, e.Message)...), '\r', '\n')
}

func oneLine(c rune) rune {
	if c == '\r' || c == '\n' {
		return ' '
	}
	return c
}

// own executes a command about the state of the connection.
func (s *session) own(out []byte, r request) []byte {
	switch r.name {
	case "hello":
		return append(out, "%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"...)
	case "multi":
		s.multi, s.queued, s.count = true, s.queued[:0], 0
	case "exec":
		return s.exec(out)
	case "watch":
		return s.watch(out, r)
	case "discard":
		s.multi = false
		s.unwatch()
	case "unwatch":
		s.unwatch()
	case "reset":
		s.close()
		return append(out, "+RESET\r\n"...)
	case "quit":
	default:
		return append(out, "-ERR "+r.name+" needs a connection of its own: use Subscribe, PSubscribe or SSubscribe\r\n"...)
	}
	return append(out, "+OK\r\n"...)
}

// exec runs the queued commands. EXEC without MULTI is an error of the server.
func (s *session) exec(out []byte) []byte {
	if !s.multi {
		return append(out, "-ERR EXEC without MULTI\r\n"...)
	}
	client := s.rc
	if s.pinned != nil {
		client = s.pinned
	}
	var replies []rediscluster.Value
	var err error
	if s.count > 0 {
		replies, err = client.Pipeline().Do(rediscluster.Encoded(s.queued)).ExecAtomic(s.context())
	}
	count := s.count
	if s.multi, s.count = false, 0; cap(s.queued) > maxKeptBuffer {
		s.queued = nil
	}
	if s.pinned != nil && (count == 0 || err != nil && !errors.Is(err, rediscluster.ErrTxFailed)) {
		s.unwatch()
	} else {
		s.unpin() // EXEC has ended the watch
	}
	switch {
	case errors.Is(err, rediscluster.ErrTxFailed):
		return append(out, "_\r\n"...)
	case replies == nil && count > 0:
		e := withoutPosition(err)
		if s.call != nil {
			s.call.err = e
		}
		return appendError(out, e)
	}
	out = appendArray(out, len(replies))
	s.position = 0
	for _, v := range replies {
		out = s.reply(out, v, v.Err())
	}
	return out
}

// watch watches keys on a connection to the node that serves them.
func (s *session) watch(out []byte, r request) []byte {
	if len(r.args) == 0 {
		return append(out, "-ERR wrong number of arguments for 'watch' command\r\n"...)
	}
	if s.pinned != nil {
		v, err := s.pinned.Do(s.context(), rediscluster.Encoded(r.raw))
		return s.reply(out, v, err)
	}
	v, err := s.watchAt(r, s.pins.acquire)
	if mayMove(err) && s.context().Err() == nil {
		// An idle connection that was lost, or whose node has failed or given the slot away.
		_ = s.rc.Refresh()
		v, err = s.watchAt(r, func(key string) (*rediscluster.Client, string, error) {
			pinned, err := s.rc.Pin(key)
			return pinned, "", err
		})
	}
	return s.reply(out, v, err)
}

// mayMove reports whether the command was not executed, and may be at another node.
func mayMove(err error) bool {
	var e *rediscluster.Error
	if !errors.As(err, &e) || e.Sent {
		return false
	}
	switch e.Code {
	case rediscluster.ErrConnect, rediscluster.ErrIO, rediscluster.ErrRedirects, rediscluster.ErrDown:
		return true
	default:
		return false
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// watchAt sends WATCH on a connection that acquire returns.
func (s *session) watchAt(r request, acquire func(key string) (*rediscluster.Client, string, error)) (rediscluster.Value, error) {
	pinned, node, err := acquire(string(r.args[0]))
	if err != nil {
		return rediscluster.Value{}, err
	}
	s.pinned, s.pinnedTo = pinned, node
	v, err := pinned.Do(s.context(), rediscluster.Encoded(r.raw))
	if err != nil {
		s.close()
	}
	return v, err
}

// unwatch ends the watch of keys.
func (s *session) unwatch() {
	if s.pinned == nil {
		return
	}
	if _, err := s.pinned.Do(context.Background(), "UNWATCH"); err != nil {
		s.close()
		return
	}
	s.unpin()
}

// unpin gives back the connection, which is in no transaction and watches no keys.
func (s *session) unpin() {
	if s.pinned != nil {
		s.pins.release(s.pinned, s.pinnedTo)
		s.pinned = nil
	}
}

// close gives up a transaction, and closes the connection that it was on.
func (s *session) close() {
	s.multi, s.count = false, 0
	if s.pinned != nil {
		_ = s.pinned.Close()
		s.pinned = nil
	}
}
