package rediscluster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

type level int

type profile struct {
	Name    string    `redis:"name"`
	Age     uint8     `redis:"age"`
	Score   float64   `redis:"score"`
	Admin   bool      `redis:"admin"`
	Level   level     `redis:"level"`
	Since   time.Time `redis:"since"`
	Picture []byte    `redis:"picture"`
	Nick    *string   `redis:"nick"`
	Plain   string
	Secret  string `redis:"-"`
	private int
}

func TestStructIsStoredAndDecoded(t *testing.T) {
	rc := connect(t)
	_, err := rc.Del(bg, "profile")
	must(t, err)
	want := profile{
		Name: "Ada", Age: 36, Score: 9.5, Admin: true, Level: 3, Since: time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC),
		Picture: []byte{0, 1, '\r', '\n'}, Plain: "yes",
	}
	stored := want
	stored.Secret, stored.private = "not stored", 1
	_, err = rc.HSet(bg, "profile", rediscluster.Fields(&stored)...)
	must(t, err)
	got, err := rediscluster.As[profile](rc.Do(bg, "HGETALL", "profile"))
	must(t, err)
	same(t, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
	pointer, err := rediscluster.As[*profile](rc.Do(bg, "HGETALL", "profile"))
	must(t, err)
	same(t, pointer.Name, "Ada")
	nick := "countess"
	stored.Nick = &nick
	_, err = rc.HSet(bg, "profile", rediscluster.Fields(stored)...)
	must(t, err)
	got, err = rediscluster.As[profile](rc.Do(bg, "HGETALL", "profile"))
	must(t, err)
	same(t, *got.Nick, nick)
	_, err = rediscluster.As[profile](rc.Do(bg, "HGETALL", "no such profile"))
	same(t, err, rediscluster.Nil)
	_, err = rc.HSet(bg, "profile", "age", 300)
	must(t, err)
	if _, err := rediscluster.As[profile](rc.Do(bg, "HGETALL", "profile")); err == nil || !strings.Contains(err.Error(), "field age: rediscluster: 300 does not fit into uint8") {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Fields took an int")
			}
		}()
		rediscluster.Fields(1)
	}()
	type refused struct{ F func() }
	_, err = rc.HSet(bg, "profile", rediscluster.Fields(refused{func() {}})...)
	fails(t, err, rediscluster.ErrInvalid)
}

func TestRepliesAreDecodedAsTypes(t *testing.T) {
	rc := connect(t)
	for _, step := range []struct {
		script string
		decode func(rediscluster.Value, error) (any, error)
		want   string
	}{
		{"return '7'", decode[int8], "7 <nil>"},
		{"return '700'", decode[int8], "0 rediscluster: 700 does not fit into int8"},
		{"return -1", decode[uint], "0 rediscluster: -1 does not fit into uint"},
		{"return '2.5'", decode[float32], "2.5 <nil>"},
		{"return {1, 0}", decode[[]bool], "[true false] <nil>"},
		{"return {'a', false}", decode[[]string], "[] element 1: rediscluster: nil"},
		{"return {'a', {1, {2}}}", decode[[]rediscluster.Value], `["a" [1 [2]]] <nil>`},
		{"return {{1, 2}, {3}}", decode[[][]int], "[[1 2] [3]] <nil>"},
		{"return {'a', '1', 'b', '2'}", decode[map[string]int], "map[a:1 b:2] <nil>"},
		{"return {'a', 'x'}", decode[map[string]int], "map[] a: rediscluster: the reply is of type STRING, not an integer"},
		{"return {'a', 'x'}", decode[map[int]int], "map[] rediscluster: a reply cannot be decoded as map[int]int, whose keys are not strings"},
		{"return false", decode[[]string], "[] <nil>"},
		{"return false", decode[*string], "<nil> <nil>"},
		{"return false", decode[map[string]string], "map[] <nil>"},
		{"return false", decode[int], "0 rediscluster: nil"},
		{"return 'x'", decode[chan int], "<nil> rediscluster: a reply cannot be decoded as chan int"},
		{"return '2020-01-02T03:04:05Z'", decode[time.Time], "2020-01-02 03:04:05 +0000 UTC <nil>"},
		{"return '\\0\\1'", decode[[]byte], "[0 1] <nil>"},
	} {
		got, err := step.decode(rc.Do(bg, "EVAL", step.script, 0))
		if fmt.Sprintf("%v %v", got, err) != step.want {
			t.Errorf("%s: got %v %v, want %s", step.script, got, err, step.want)
		}
	}
	_, err := rediscluster.As[string](rc.Do(bg, "EVAL", "return redis.error_reply('MINE own')", 0))
	var e *rediscluster.Error
	if !errors.As(err, &e) || !e.Sent || !strings.HasPrefix(e.Message, "MINE own") {
		t.Fatal(err)
	}
}

func decode[T any](v rediscluster.Value, err error) (any, error) { return rediscluster.As[T](v, err) }
