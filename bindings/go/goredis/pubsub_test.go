package goredis_test

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestMessagesOfAllKindsArrive(t *testing.T) {
	rdb := connect(t)
	for kind, sub := range map[string]*redis.PubSub{
		"message": rdb.Subscribe(bg, "news", "sport"), "pmessage": rdb.PSubscribe(bg, "ne*"), "smessage": rdb.SSubscribe(bg, "news"),
	} {
		for i := 0; i < map[string]int{"message": 2, "pmessage": 1, "smessage": 1}[kind]; i++ {
			event, err := sub.Receive(within(t, 5*time.Second))
			must(t, err)
			if _, ok := event.(*redis.Subscription); !ok {
				t.Fatal(kind, event)
			}
		}
		if kind == "smessage" {
			must(t, rdb.SPublish(bg, "news", "hello").Err())
		} else {
			must(t, rdb.Publish(bg, "news", "hello").Err())
		}
		message := <-sub.Channel()
		same(t, message.Channel+" "+message.Pattern+" "+message.Payload, map[bool]string{true: "news ne* hello", false: "news  hello"}[kind == "pmessage"])
		must(t, sub.Close())
	}
}

func TestSubscriptionIsChangedWhileItReceives(t *testing.T) {
	rdb := connect(t)
	sub := rdb.Subscribe(bg)
	defer sub.Close()
	must(t, sub.Subscribe(bg, "first"))
	ctx := within(t, 10*time.Second)
	events := make(chan any, 10)
	go func() {
		for {
			event, err := sub.Receive(ctx)
			if err != nil {
				close(events)
				return
			}
			events <- event
		}
	}()
	same(t, <-events, "subscribe: first")
	must(t, sub.Subscribe(bg, "second"))
	same(t, <-events, "subscribe: second")
	must(t, sub.Ping(bg, "are you there"))
	same(t, <-events, "Pong<are you there>")
	must(t, sub.Unsubscribe(bg, "first"))
	same(t, <-events, "unsubscribe: first")
	must(t, rdb.Publish(bg, "first", "lost").Err())
	for i := 0; i < 5; i++ {
		must(t, rdb.Publish(bg, "second", fmt.Sprint(i)).Err())
		same(t, <-events, fmt.Sprintf("Message<second: %d>", i))
	}
	must(t, sub.Close())
	for range events {
		t.Error("an event after Close")
	}
}

func TestReceiveTimeoutIsNetworkError(t *testing.T) {
	rdb := connect(t)
	sub := rdb.Subscribe(bg, "silent")
	defer sub.Close()
	_, err := sub.ReceiveTimeout(bg, 5*time.Second)
	must(t, err)
	begun := time.Now()
	_, err = sub.ReceiveTimeout(bg, 30*time.Millisecond)
	var network net.Error
	if !errors.As(err, &network) || !network.Timeout() || time.Since(begun) > time.Second {
		t.Fatal(err)
	}
	must(t, rdb.Publish(bg, "silent", "after all").Err())
	message, err := sub.ReceiveMessage(within(t, 5*time.Second))
	must(t, err)
	same(t, message.Payload, "after all")
}

func TestChannelGetsManyMessagesInOrder(t *testing.T) {
	rdb := connect(t)
	sub := rdb.SSubscribe(bg, "many")
	defer sub.Close()
	_, err := sub.Receive(bg)
	must(t, err)
	messages := sub.Channel(redis.WithChannelSize(1000), redis.WithChannelHealthCheckInterval(20*time.Millisecond))
	for i := 0; i < 10; i++ {
		_, err := rdb.Pipelined(bg, func(p redis.Pipeliner) error {
			for j := 0; j < 50; j++ {
				p.SPublish(bg, "many", 50*i+j)
			}
			return nil
		})
		must(t, err)
		time.Sleep(10 * time.Millisecond) // there is a health check between some of them
	}
	for i := 0; i < 500; i++ {
		same(t, (<-messages).Payload, i)
	}
}
