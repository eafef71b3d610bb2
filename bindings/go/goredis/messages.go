package goredis

import (
	"context"
	"errors"
	"strconv"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

// messages is the subscription of a connection. A goroutine receives its events, and encodes them.
type messages struct {
	sub     *rediscluster.Subscription
	ctx     context.Context
	cancel  context.CancelFunc
	encoded chan []byte
	count   int // of the last confirmation; of the goroutine
}

func newMessages(rc *rediscluster.Client) *messages {
	ctx, cancel := context.WithCancel(context.Background())
	m := &messages{sub: rc.Subscribe(ctx), ctx: ctx, cancel: cancel, encoded: make(chan []byte, 16)}
	go m.receive()
	return m
}

func (m *messages) close() { m.cancel() }

// execute executes the complete requests, and returns what follows them. It waits for nothing, unless the
// answers to many PINGs are not read.
func (m *messages) execute(in []byte) ([]byte, error) {
	for len(in) > 0 {
		r, rest, err := nextRequest(in, nil)
		if errors.Is(err, errIncomplete) {
			break
		}
		if err != nil {
			return nil, err
		}
		if reply := m.request(r); reply != nil {
			go m.pass(reply) // a write must not wait for a read
		}
		in = rest
	}
	return in, nil
}

// request executes one request, and returns its reply if it does not come with the messages.
func (m *messages) request(r request) []byte {
	names := make([]string, len(r.args))
	for i, name := range r.args {
		names[i] = string(name)
	}
	var err error
	switch r.name {
	case "subscribe":
		err = m.sub.Subscribe(m.ctx, names...)
	case "psubscribe":
		err = m.sub.PSubscribe(m.ctx, names...)
	case "ssubscribe":
		err = m.sub.SSubscribe(m.ctx, names...)
	case "unsubscribe":
		err = m.sub.Unsubscribe(m.ctx, names...)
	case "punsubscribe":
		err = m.sub.PUnsubscribe(m.ctx, names...)
	case "sunsubscribe":
		err = m.sub.SUnsubscribe(m.ctx, names...)
	case "ping":
		payload := ""
		if len(names) > 0 {
			payload = names[0]
		}
		return appendTexts(nil, "pong", payload)
	default:
		err = &rediscluster.Error{Code: rediscluster.ErrInvalid, Message: "ERR only subscriptions and PING on this connection"}
	}
	if err != nil {
		return appendError(nil, withoutPosition(err))
	}
	return nil
}

// pass hands a reply to the reader.
func (m *messages) pass(reply []byte) bool {
	select {
	case m.encoded <- reply:
		return true
	case <-m.ctx.Done():
		return false
	}
}

func (m *messages) receive() {
	for {
		event, err := m.sub.Receive(m.ctx)
		var e *rediscluster.Error
		switch {
		case errors.Is(err, rediscluster.ErrClosed) || m.ctx.Err() != nil:
			return
		case errors.As(err, &e) && (e.Code == rediscluster.ErrServer || e.Code == rediscluster.ErrAuth):
			event = e // a channel is refused for good
		case err != nil:
			// A lost connection: the subscription goes on, and announces a gap. Without a descriptor, this error
			// comes again at once.
			sleep(m.ctx, 10*time.Millisecond)
			continue
		}
		if !m.pass(m.encode(event)) {
			return
		}
	}
}

// encode encodes an event as a server would. A gap becomes another confirmation, which a go-redis client
// gives after it has lost and renewed a connection.
func (m *messages) encode(event any) []byte {
	switch event := event.(type) {
	case *rediscluster.Message:
		switch {
		case event.Pattern != "":
			return appendTexts(nil, "pmessage", event.Pattern, event.Channel, event.Payload)
		case event.Sharded:
			return appendTexts(nil, "smessage", event.Channel, event.Payload)
		default:
			return appendTexts(nil, "message", event.Channel, event.Payload)
		}
	case *rediscluster.Confirmation:
		m.count = event.Count
		return m.confirmation(event.Kind, event.Channel)
	case *rediscluster.Gap:
		return m.confirmation(map[string]string{
			"message": "subscribe", "pmessage": "psubscribe", "smessage": "ssubscribe",
		}[event.Kind], event.Channel)
	default:
		return appendError(nil, event.(*rediscluster.Error))
	}
}

func (m *messages) confirmation(kind, channel string) []byte {
	out := appendText(appendText(appendArray(nil, 3), kind), channel)
	return append(strconv.AppendInt(append(out, ':'), int64(m.count), 10), '\r', '\n')
}

func appendTexts(out []byte, texts ...string) []byte {
	out = appendArray(out, len(texts))
	for _, text := range texts {
		out = appendText(out, text)
	}
	return out
}

func appendArray(out []byte, n int) []byte {
	return append(strconv.AppendInt(append(out, '*'), int64(n), 10), '\r', '\n')
}

func appendText(out []byte, text string) []byte {
	out = append(strconv.AppendInt(append(out, '$'), int64(len(text)), 10), '\r', '\n')
	return append(append(out, text...), '\r', '\n')
}
