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

func ExampleAs() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	type user struct {
		Name string `redis:"name"`
		Born int    `redis:"born"`
	}
	if _, err := rc.HSet(ctx, "user:2", rediscluster.Fields(user{"Grace", 1906})...); err != nil {
		log.Fatal(err)
	}
	grace, err := rediscluster.As[user](rc.Do(ctx, "HGETALL", "user:2"))
	fmt.Println(grace.Name, grace.Born, err)
	// Output: Grace 1906 <nil>
}

func ExampleClient_Watch() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	if err := rc.Set(ctx, "stock", 3); err != nil {
		log.Fatal(err)
	}
	take := func(tx *rediscluster.Client) error {
		left, err := rediscluster.As[int](tx.Do(ctx, "GET", "stock"))
		if err != nil || left == 0 {
			return err
		}
		_, err = tx.Pipeline().DecrBy("stock", 1).ExecAtomic(ctx)
		return err
	}
	for err = rediscluster.ErrTxFailed; errors.Is(err, rediscluster.ErrTxFailed); {
		err = rc.Watch(ctx, take, "stock")
	}
	fmt.Println(err)
	fmt.Println(rc.Get(ctx, "stock"))
	// Output:
	// <nil>
	// 2 <nil>
}

func ExampleClient_DoTo() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	sizes, err := rediscluster.As[map[string]int](rc.DoTo(ctx, "primaries", "DBSIZE"))
	fmt.Println(len(sizes), err)
	// Output: 3 <nil>
}

func ExampleClient_Explain() {
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	route, err := rc.Explain("MGET", "foo", "bar")
	if err != nil {
		log.Fatal(err)
	}
	fields, err := route.Map()
	fmt.Println(fields["slots"], fields["access"], err)
	// Output: [5061 12182] "read" <nil>
}

func ExampleClient_ZRangeWithScores() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	if _, err := rc.ZAdd(ctx, "board", 10, "ada", 7.5, "grace"); err != nil {
		log.Fatal(err)
	}
	best, err := rc.ZRangeWithScores(ctx, "board", 0, 9, "REV")
	fmt.Println(best, err)
	// Output: [{ada 10} {grace 7.5}] <nil>
}

func ExampleError() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	_, err = rc.SUnion(ctx, "a", "b")
	var e *rediscluster.Error
	if errors.As(err, &e) {
		fmt.Println(e.Code, e.Sent, errors.Is(err, rediscluster.ErrCrossSlot))
	}
	// Output: CROSSSLOT false true
}

func ExampleWithTimeout() {
	rc, err := rediscluster.New(os.Getenv("RDC_URL"), rediscluster.WithTimeout(2*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	_, _, err = rc.BLPop(ctx, 0, "empty queue")
	fmt.Println(errors.Is(err, context.DeadlineExceeded), errors.Is(err, rediscluster.ErrTimeout))
	// Output: true true
}
