package rediscluster_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

func Example() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL")) // redis://127.0.0.1:7000
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	if err := rc.Set(ctx, "foo16706", "bar"); err != nil {
		log.Fatal(err)
	}
	value, err := rc.Get(ctx, "foo16706")
	fmt.Println(value, err)
	_, err = rc.Get(ctx, "no such key")
	fmt.Println(err == rediscluster.Nil)
	// Output:
	// bar <nil>
	// true
}

func ExampleClient_Readonly() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	readonly, err := rc.Readonly()
	if err != nil {
		log.Fatal(err)
	}
	defer readonly.Close()
	err = readonly.Set(ctx, "foo", "bar")
	var e *rediscluster.Error
	fmt.Println(errors.Is(err, rediscluster.ErrReadOnly), errors.As(err, &e) && !e.Sent)
	// Output: true true
}

func ExampleClient_Pipeline() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	replies, err := rc.Pipeline().
		Set("foo81", "foo").
		SetPX("foo16706", "bar", time.Minute).
		Get("foo81").
		Get("foo16706").
		Exec(ctx)
	fmt.Println(replies, err)
	// Output: [OK OK "foo" "bar"] <nil>
}

func ExampleClient_Do() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	if _, err := rc.Do(ctx, "HSET", "user:1", "name", "Ada", "born", 1815); err != nil {
		log.Fatal(err)
	}
	v, err := rc.Do(ctx, "HGETALL", "user:1")
	if err != nil {
		log.Fatal(err)
	}
	user, err := v.Map()
	fmt.Println(user["name"], user["born"], err)
	// Output: "Ada" "1815" <nil>
}

func ExampleClient_Subscribe() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	sub := rc.SSubscribe(ctx, "orders") // a sharded channel; Subscribe and PSubscribe are for the others
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil { // the confirmation
		log.Fatal(err)
	}
	if _, err := rc.Do(ctx, "SPUBLISH", "orders", "42"); err != nil {
		log.Fatal(err)
	}
	message := <-sub.Channel()
	fmt.Println(message.Channel, message.Payload, message.Gap)
	// Output: orders 42 <nil>
}

func ExampleClient_With() {
	rc, err := rediscluster.New(os.Getenv("RDC_URL"), rediscluster.WithTimeout(2*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	_, err = rc.With("tiemout_ms", "500")
	fmt.Println(errors.Is(err, rediscluster.ErrInvalid))
	// Output: true
}
