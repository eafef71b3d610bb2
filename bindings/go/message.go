package rediscluster

import "fmt"

// Message is a published message.
type Message struct {
	// Channel is where it was published.
	Channel string
	// Pattern is the pattern of PSubscribe that the channel matches, or "".
	Pattern string
	Payload string
	// Sharded is true for a message of SPublish.
	Sharded bool
	// Node is the "host:port" that sent a keyspace notification, which are local to a node; it is ""
	// for other messages.
	Node string
	// Gap is not nil if messages may have been missed since the previous one of this channel or
	// pattern. Only [Subscription.Channel] and [Subscription.ReceiveMessage] set it.
	Gap *Gap
}

// String describes a message, without its payload's content.
func (m *Message) String() string {
	return fmt.Sprintf("Message<%s: %d bytes>", m.Channel, len(m.Payload))
}

// Confirmation says that a subscription has begun or ended.
type Confirmation struct {
	// Kind is "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe" or "sunsubscribe".
	Kind string
	// Channel is the channel or the pattern.
	Channel string
	// Count is the number of channels and patterns then, or of sharded channels.
	Count int
}

// String returns "subscribe: news".
func (c *Confirmation) String() string { return c.Kind + ": " + c.Channel }

// Gap says that messages of a channel or a pattern may have been missed before this point: the
// connection was lost, the slot moved, or the server gave the subscriber up.
type Gap struct {
	// Kind is the kind of messages: "message", "pmessage" or "smessage".
	Kind string
	// Channel is the channel or the pattern.
	Channel string
	Reason  string
	// Node is the "host:port" that the channel is on now.
	Node string
}

// String returns "gap: news: " and the reason.
func (g *Gap) String() string { return "gap: " + g.Channel + ": " + g.Reason }

// push is a push of the library: its texts, and its number if it has one.
type push struct {
	text  [5]string
	num   int64
	parts int
	node  string
}

// event returns the push as a *Message, *Confirmation or *Gap. It returns nil for a push of a later
// version of the library.
func (p *push) event() any {
	switch kind := p.text[0]; {
	case kind == "message" || kind == "smessage":
		return &Message{Channel: p.text[1], Payload: p.text[2], Sharded: kind == "smessage", Node: p.notifier(p.text[1])}
	case kind == "pmessage":
		return &Message{Pattern: p.text[1], Channel: p.text[2], Payload: p.text[3], Node: p.notifier(p.text[2])}
	case kind == "gap":
		return &Gap{Kind: p.text[1], Channel: p.text[2], Reason: p.text[3], Node: p.text[4]}
	case p.parts == 3:
		return &Confirmation{Kind: kind, Channel: p.text[1], Count: int(p.num)}
	default:
		return nil
	}
}

// notifier returns the node of a keyspace notification.
func (p *push) notifier(channel string) string {
	if len(channel) > 5 && channel[:5] == "__key" {
		return p.node
	}
	return ""
}

// topic names the messages that a gap is about.
type topic struct{ kind, name string }

func (m *Message) topic() topic {
	switch {
	case m.Sharded:
		return topic{"smessage", m.Channel}
	case m.Pattern != "":
		return topic{"pmessage", m.Pattern}
	default:
		return topic{"message", m.Channel}
	}
}
