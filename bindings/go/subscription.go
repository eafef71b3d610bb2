package rediscluster

import (
	"context"
	"errors"
	"io"
	"sync"
)

// Subscription receives the messages of channels, patterns and sharded channels. It follows the cluster:
// when a slot moves or a node fails, it subscribes again, and announces a [Gap] if messages may have
// been missed.
//
// Messages are received by [Subscription.Channel], [Subscription.ReceiveMessage] or
// [Subscription.Receive]. What is not received stays with the servers, up to their
// client-output-buffer-limit: the library reads no further ahead than a few dozen messages.
//
// A Subscription is safe for concurrent use. It uses no OS thread while it waits. It must be closed, by
// Close or by the end of the context of [Client.Subscribe].
type Subscription struct {
	ctx      context.Context
	fd       int
	poller   *poller
	readable chan struct{}
	closed   chan struct{}
	// The receiver's turn: a channel of one value, so that a context can end the wait for it.
	turn chan struct{}

	// Of the goroutine that has the turn.
	pending []any
	first   int
	gaps    map[topic]*Gap

	lock   sync.Mutex // for what follows
	native subscriber // 0 when closed
	inbox  *inbox
	failed error       // to be returned by the next Receive
	stop   func() bool // ends the watch of ctx

	pump     sync.Once
	messages chan *Message
	events   chan any
}

var _ io.Closer = (*Subscription)(nil)

// The number of messages that a Go channel holds.
const channelSize = 100

// Subscribe subscribes to channels. It does not wait for the confirmations, which
// [Subscription.Receive] returns, as well as the error if a channel is refused. The subscription ends
// with the context, or by Close.
func (c *Client) Subscribe(ctx context.Context, channels ...string) *Subscription {
	return c.subscribe(ctx, "SUBSCRIBE", channels)
}

// PSubscribe subscribes to patterns, such as "news.*". A pattern that begins with "__keyspace@" or
// "__keyevent@" is subscribed on every primary.
func (c *Client) PSubscribe(ctx context.Context, patterns ...string) *Subscription {
	return c.subscribe(ctx, "PSUBSCRIBE", patterns)
}

// SSubscribe subscribes to sharded channels, of any slots.
func (c *Client) SSubscribe(ctx context.Context, channels ...string) *Subscription {
	return c.subscribe(ctx, "SSUBSCRIBE", channels)
}

func (c *Client) subscribe(ctx context.Context, command string, names []string) *Subscription {
	s := &Subscription{
		ctx: ctx, readable: make(chan struct{}, 1), closed: make(chan struct{}), turn: make(chan struct{}, 1),
		gaps: map[topic]*Gap{}, inbox: new(inbox),
	}
	s.turn <- struct{}{}
	s.native = nativeSubscriberNew(c.handle)
	s.fd = nativeSubscriberFd(s.native)
	// The end of the context is no failure of the command: it closes the subscription, and Receive says so.
	if s.failed = s.watch(); s.failed == nil && len(names) > 0 && ctx.Err() == nil {
		s.failed = s.execute(command, names)
	}
	if ctx.Done() != nil {
		s.lock.Lock() // which the function takes too
		s.stop = afterDone(ctx, func() { s.Close() })
		s.lock.Unlock()
	}
	return s
}

// watch hands the descriptor to the poller.
func (s *Subscription) watch() error {
	if s.fd < 0 {
		return nil // the error of the subscriber is the reply to its commands
	}
	var err error
	if s.poller, err = sharedPoller(); err == nil {
		err = s.poller.add(s.fd, s.readable)
	}
	if err != nil {
		return &Error{Code: ErrIO, Message: "IO the descriptor of a subscription cannot be watched: " + err.Error(), cause: err}
	}
	return nil
}

// Subscribe subscribes to more channels.
func (s *Subscription) Subscribe(ctx context.Context, channels ...string) error {
	return s.command(ctx, "SUBSCRIBE", channels)
}

// PSubscribe subscribes to more patterns.
func (s *Subscription) PSubscribe(ctx context.Context, patterns ...string) error {
	return s.command(ctx, "PSUBSCRIBE", patterns)
}

// SSubscribe subscribes to more sharded channels.
func (s *Subscription) SSubscribe(ctx context.Context, channels ...string) error {
	return s.command(ctx, "SSUBSCRIBE", channels)
}

// Unsubscribe ends the subscriptions to these channels, or to all channels.
func (s *Subscription) Unsubscribe(ctx context.Context, channels ...string) error {
	return s.command(ctx, "UNSUBSCRIBE", channels)
}

// PUnsubscribe ends the subscriptions to these patterns, or to all patterns.
func (s *Subscription) PUnsubscribe(ctx context.Context, patterns ...string) error {
	return s.command(ctx, "PUNSUBSCRIBE", patterns)
}

// SUnsubscribe ends the subscriptions to these sharded channels, or to all of them.
func (s *Subscription) SUnsubscribe(ctx context.Context, channels ...string) error {
	return s.command(ctx, "SUNSUBSCRIBE", channels)
}

func (s *Subscription) command(ctx context.Context, name string, names []string) error {
	if err := ctx.Err(); err != nil {
		return contextError(err, false)
	}
	return s.execute(name, names)
}

func (s *Subscription) execute(name string, names []string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.native == 0 {
		return s.endError()
	}
	if err := nativeSubscriberCommand(s.native, append([]string{name}, names...)); err != nil {
		return err
	}
	return nil
}

// Close ends the subscriptions. Receivers return [ErrClosed], and the Go channels are closed. The
// error is always nil.
func (s *Subscription) Close() error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.native == 0 {
		return nil
	}
	if s.stop != nil {
		s.stop()
	}
	close(s.closed)
	if s.poller != nil {
		s.poller.remove(s.fd)
	}
	nativeHeldFree(s.inbox)
	nativeSubscriberFree(s.native)
	s.native = 0
	return nil
}

// endError is the error of a subscription that was closed.
func (s *Subscription) endError() error {
	if cause := s.ctx.Err(); cause != nil {
		return &Error{Code: ErrClosed, Message: "CLOSED the context of the subscription has ended", cause: cause}
	}
	return &Error{Code: ErrClosed, Message: "CLOSED the subscription was closed"}
}

// waitError is the error of a wait whose context has ended: with it, the subscription may have ended too.
func (s *Subscription) waitError(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return s.endError()
	}
	return contextError(ctx.Err(), false)
}

// Receive returns the next *[Message], *[Confirmation] or *[Gap], or an error. After an error other
// than [ErrClosed], calling it again goes on.
func (s *Subscription) Receive(ctx context.Context) (any, error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, s.waitError(ctx)
	case <-s.closed:
		return nil, s.endError()
	}
	return s.receive(ctx)
}

// ReceiveMessage returns the next message. Confirmations are dropped, and a gap is in the field Gap of
// the next message of its channel.
func (s *Subscription) ReceiveMessage(ctx context.Context) (*Message, error) {
	for {
		event, err := s.Receive(ctx)
		if err != nil {
			return nil, err
		}
		if message := s.withGap(event); message != nil {
			return message, nil
		}
	}
}

// withGap keeps a gap until the next message of its channel. It returns that message with the gap, or
// nil.
func (s *Subscription) withGap(event any) *Message {
	s.lock.Lock()
	defer s.lock.Unlock()
	switch event := event.(type) {
	case *Gap:
		s.gaps[topic{event.Kind, event.Channel}] = event
	case *Message:
		if len(s.gaps) > 0 {
			event.Gap = s.gaps[event.topic()]
			delete(s.gaps, event.topic())
		}
		return event
	}
	return nil
}

// receive returns the next event. The caller has the turn.
func (s *Subscription) receive(ctx context.Context) (any, error) {
	for {
		if s.first < len(s.pending) {
			event := s.pending[s.first]
			s.pending[s.first] = nil
			s.first++
			return event, nil
		}
		if ctx.Err() != nil {
			return nil, s.waitError(ctx)
		}
		found, err := s.take()
		if err != nil {
			return nil, err
		}
		if found {
			continue
		}
		select {
		case <-s.readable:
		case <-ctx.Done():
			return nil, s.waitError(ctx)
		case <-s.closed:
			return nil, s.endError()
		}
	}
}

// take takes what is there. If there is nothing, it asks the poller to report when there is.
func (s *Subscription) take() (bool, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if err := s.failed; err != nil {
		s.failed = nil
		return false, err
	}
	if s.native == 0 {
		return false, s.endError()
	}
	s.pending, s.first = s.pending[:0], 0
	if s.inbox.held == 0 {
		nativeSubscriberNext(s.native, s.inbox)
		for i := 0; i < int(s.inbox.count); i++ {
			p := nativePush(s.inbox, i)
			s.keep(&p)
		}
		if len(s.pending) > 0 {
			return true, nil
		}
	}
	p, failure := nativeHeld(s.inbox)
	switch {
	case failure != nil:
		return false, failure
	case p.parts > 0:
		s.keep(&p)
		return true, nil
	case s.poller == nil:
		return false, s.endError()
	}
	return false, s.poller.enable(s.fd)
}

func (s *Subscription) keep(p *push) {
	if event := p.event(); event != nil {
		s.pending = append(s.pending, event)
	}
}

// Channel returns the Go channel of the messages, the same at each call. It is closed when the
// subscription is, and if no descriptor was left for it. Confirmations are dropped, and a gap is in the field Gap of the next message of its
// channel. Errors are dropped too: the subscription goes on by itself.
//
// Use it, or ChannelWithSubscriptions, or the functions that receive; not several of them. It panics after
// ChannelWithSubscriptions.
func (s *Subscription) Channel() <-chan *Message {
	s.pump.Do(func() {
		s.messages = make(chan *Message, channelSize)
		go s.forward(func(event any) bool {
			message := s.withGap(event)
			if message == nil {
				return true
			}
			select {
			case s.messages <- message:
				return true
			case <-s.closed:
				return false
			}
		}, func() { close(s.messages) })
	})
	if s.messages == nil {
		panic("rediscluster: Channel cannot be called after ChannelWithSubscriptions")
	}
	return s.messages
}

// ChannelWithSubscriptions returns the Go channel of all events: *[Message], *[Confirmation] and
// *[Gap]. It panics after Channel.
func (s *Subscription) ChannelWithSubscriptions() <-chan any {
	s.pump.Do(func() {
		s.events = make(chan any, channelSize)
		go s.forward(func(event any) bool {
			select {
			case s.events <- event:
				return true
			case <-s.closed:
				return false
			}
		}, func() { close(s.events) })
	})
	if s.events == nil {
		panic("rediscluster: ChannelWithSubscriptions cannot be called after Channel")
	}
	return s.events
}

// forward passes all events on, until the subscription is closed.
func (s *Subscription) forward(pass func(any) bool, end func()) {
	defer end()
	for {
		event, err := s.Receive(context.Background())
		// Without a descriptor, each call returns the same error at once.
		if errors.Is(err, ErrClosed) || err != nil && s.fd < 0 {
			return
		}
		if err == nil && !pass(event) {
			return
		}
	}
}
