package rediscluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

var bg = context.Background()

func TestMain(m *testing.M) {
	if os.Getenv("RDC_URL") == "" {
		fmt.Fprintln(os.Stderr, "RDC_URL is not set, so there is no cluster to test with: run `make test-go` in the root of the repository")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func connect(t testing.TB, opts ...rediscluster.Option) *rediscluster.Client {
	t.Helper()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rc.Close() })
	return rc
}

// ctl runs a control command of the test cluster.
func ctl(t testing.TB, args ...string) string {
	t.Helper()
	output, err := exec.Command(os.Getenv("RDC_CLUSTER"), append([]string{"ctl"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("cluster ctl %v: %v: %s", args, err, output)
	}
	return strings.TrimSpace(string(output))
}

// stop suspends a node and returns a function that resumes it. Resume it within one second: after
// that the other nodes mark it as failed.
func stop(t testing.TB, port string) (cont func()) {
	t.Helper()
	var once sync.Once
	cont = func() {
		once.Do(func() {
			ctl(t, "cont", port)
			ctl(t, "wait-healthy")
		})
	}
	ctl(t, "stop", port)
	t.Cleanup(cont)
	return cont
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T any](t testing.TB, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %#v, want %#v", got, want)
	}
}

// fails checks the code of an error and returns the error.
func fails(t testing.TB, err error, code rediscluster.Code) *rediscluster.Error {
	t.Helper()
	var e *rediscluster.Error
	if !errors.As(err, &e) || !errors.Is(err, code) {
		t.Fatalf("got %v, want %v", err, code)
	}
	return e
}

// eventually waits for a condition, such as the arrival of a write at a replica.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not true within 10 s: %s", what)
		}
	}
}

func TestTypedCommandMethods(t *testing.T) {
	rc := connect(t)
	_, err := rc.Del(bg, "own")
	must(t, err)
	_, err = rc.Get(bg, "own")
	same(t, err, rediscluster.Nil)
	there, err := rc.Exists(bg, "own")
	must(t, err)
	same(t, there, 0)
	alive, err := rc.PExpire(bg, "own", time.Second)
	must(t, err)
	same(t, alive, false)

	must(t, rc.Set(bg, "own", 40))
	n, err := rc.IncrBy(bg, "own", 2)
	must(t, err)
	same(t, n, 42)
	text, err := rc.Get(bg, "own")
	must(t, err)
	same(t, text, "42")
	there, err = rc.Exists(bg, "own")
	must(t, err)
	same(t, there, 1)

	must(t, rc.SetPX(bg, "own", "brief", 90*time.Second))
	v, err := rc.Do(bg, "PTTL", "own")
	must(t, err)
	left, err := v.Int()
	must(t, err)
	if left <= 0 || left > 90000 {
		t.Fatal("time to live:", left)
	}
	alive, err = rc.PExpire(bg, "own", time.Minute)
	must(t, err)
	same(t, alive, true)
	gone, err := rc.Del(bg, "own")
	must(t, err)
	same(t, gone, 1)
}

func TestKeysAndValuesAreBinarySafe(t *testing.T) {
	rc := connect(t)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	// Around the sizes where a reply is no longer stored inline, and where a string is no longer copied
	// to a shared block.
	for _, times := range []int{0, 1, 2, 3, 4, 5, 300, 40000} {
		value := bytes.Repeat(every, times)
		must(t, rc.Set(bg, string(every), value))
		got, err := rc.Get(bg, string(every))
		must(t, err)
		if got != string(value) {
			t.Fatalf("a value of %d bytes came back as a different value of %d bytes", len(value), len(got))
		}
	}
}

func TestArgumentsAreEncodedByTypeOrRefused(t *testing.T) {
	rc := connect(t)
	for _, row := range []struct {
		arg  any
		want string
	}{
		{"text", "text"}, {[]byte("bytes"), "bytes"}, {[]byte(nil), ""}, {"", ""}, {true, "1"}, {false, "0"},
		{int(-1), "-1"}, {int8(-8), "-8"}, {int16(-16), "-16"}, {int32(-32), "-32"}, {int64(math.MinInt64), "-9223372036854775808"},
		{uint(1), "1"}, {uint8(8), "8"}, {uint16(16), "16"}, {uint32(32), "32"}, {uint64(math.MaxUint64), "18446744073709551615"},
		{float32(0.1), "0.1"}, {float64(1e300), "1e+300"}, {math.Inf(-1), "-Inf"},
	} {
		v, err := rc.Do(bg, "ECHO", row.arg)
		must(t, err)
		text, err := v.Text()
		must(t, err)
		same(t, text, row.want)
	}
	for _, arg := range []any{nil, time.Second, struct{}{}, []string{"a"}, &struct{}{}} {
		_, err := rc.Do(bg, "ECHO", arg)
		same(t, fails(t, err, rediscluster.ErrInvalid).Sent, false)
		same(t, rc.Set(bg, "k", arg) != nil, true)
		_, err = rc.Pipeline().Get("k").Set("k", arg).Exec(bg)
		fails(t, err, rediscluster.ErrInvalid)
	}
	_, err := rc.Do(bg)
	fails(t, err, rediscluster.ErrInvalid)
}

func TestRepliesOfAllKindsAreDecoded(t *testing.T) {
	rc := connect(t)
	eval := func(script string) rediscluster.Value {
		t.Helper()
		v, err := rc.Do(bg, "EVAL", "redis.setresp(3); "+script, 1, "kinds")
		must(t, err)
		return v
	}
	same(t, eval("return {1, {2, {'three', false}}, {}}").String(), `[1 [2 ["three" false]] []]`)
	same(t, eval("return {double=1.5}").Kind(), rediscluster.KindDouble)
	float, err := eval("return {double=1.5}").Float()
	must(t, err)
	same(t, float, 1.5)
	is, err := eval("return true").Bool()
	must(t, err)
	same(t, is, true)
	same(t, eval("return {set={a=true}}").String(), `["a"]`)
	same(t, eval("return {set={a=true}}").Kind(), rediscluster.KindSet)
	same(t, eval("return {map={a=1}}").Kind(), rediscluster.KindMap)
	same(t, eval("return {big_number='12345678901234567890'}").String(), "12345678901234567890")
	same(t, eval("return {verbatim_string={format='txt', string='words'}}").String(), `"words"`)
	same(t, eval("return nil").IsNil(), true)
	same(t, eval("return {set={[{map={a=1}}]=true}}").String(), `[["a" 1]]`)
	same(t, eval("return {map={[{1, 2}]=3}}").String(), `[[1 2] 3]`)
	float, err = eval("return {double=0/0}").Float()
	must(t, err)
	same(t, math.IsNaN(float), true)

	nothing := eval("return nil")
	_, err = nothing.Text()
	same(t, err, rediscluster.Nil)
	_, err = nothing.Slice()
	same(t, err, rediscluster.Nil)
	_, err = eval("return {}").Int()
	same(t, err.Error(), "rediscluster: the reply is of type ARRAY, not an integer")

	for _, protocol := range []string{"2", "3"} {
		rc := connect(t, rediscluster.WithOption("protocol", protocol))
		_, err := rc.Do(bg, "HSET", "hash", "one", 1, "two", "zwei")
		must(t, err)
		v, err := rc.Do(bg, "HGETALL", "hash")
		must(t, err)
		all, err := v.Map()
		must(t, err)
		one, err := all["one"].Int()
		must(t, err)
		two, err := all["two"].Text()
		must(t, err)
		same(t, fmt.Sprintln(len(all), one, two), "2 1 zwei\n")
	}
}

func TestLongReplyKeepsEveryElement(t *testing.T) {
	rc := connect(t)
	_, err := rc.Do(bg, "DEL", "long")
	must(t, err)
	args := []any{"RPUSH", "long"}
	for i := 0; i < 5000; i++ {
		args = append(args, strings.Repeat(strconv.Itoa(i)+",", i%400))
	}
	_, err = rc.Do(bg, args...)
	must(t, err)
	v, err := rc.Do(bg, "LRANGE", "long", 0, -1)
	must(t, err)
	elements, err := v.Slice()
	must(t, err)
	same(t, len(elements), 5000)
	for i, element := range elements {
		text, err := element.Text()
		must(t, err)
		same(t, text, args[i+2].(string))
	}
	_, err = rc.Do(bg, "DEL", "long")
	must(t, err)
}

func TestErrorsHaveCodeMessageAndNode(t *testing.T) {
	rc := connect(t)
	must(t, rc.Set(bg, "errors", "text"))
	_, err := rc.Do(bg, "LPUSH", "errors", "x")
	e := fails(t, err, rediscluster.ErrServer)
	if !strings.HasPrefix(e.Message, "WRONGTYPE ") || e.Node == "" || !e.Sent || errors.Is(err, rediscluster.ErrTimeout) {
		t.Fatalf("%+v", e)
	}
	_, err = rc.Do(bg, "SUNION", "a", "b")
	same(t, fails(t, err, rediscluster.ErrCrossSlot).Sent, false)

	_, err = rediscluster.New("redis://127.0.0.1:1?timeout_ms=300")
	if e := fails(t, err, rediscluster.ErrConnect); e.Sent || !strings.HasPrefix(e.Message, "CONNECT ") {
		t.Fatalf("%+v", e)
	}
	// A lazy client connects in its first call.
	lazy, err := rediscluster.New("redis://127.0.0.1:1?timeout_ms=300&lazy=yes")
	must(t, err)
	fails(t, lazy.Set(bg, "errors", "text"), rediscluster.ErrConnect)
	lazy.Close()
	lazy, err = rediscluster.New(os.Getenv("RDC_URL"), rediscluster.WithOption("lazy", "yes"))
	must(t, err)
	must(t, lazy.Set(bg, "errors", "text"))
	lazy.Close()
	for _, url := range []string{"", "http://127.0.0.1", "redis://127.0.0.1:1\x00"} {
		_, err = rediscluster.New(url)
		fails(t, err, rediscluster.ErrInvalid)
	}
	for _, opt := range []rediscluster.Option{
		rediscluster.WithOption("tiemout_ms", "1"), rediscluster.WithOption("timeout_ms", "soon"),
		rediscluster.WithOption("timeout_ms\x00", "1"), rediscluster.WithOption("timeout_ms", "1\x00"),
	} {
		_, err = rediscluster.New(os.Getenv("RDC_URL"), opt)
		fails(t, err, rediscluster.ErrInvalid)
		same(t, fmt.Sprint(rediscluster.Code(5)), "TIMEOUT")
	}
	_, err = rc.With("password", "x")
	fails(t, err, rediscluster.ErrInvalid)
	_, err = rc.With("timeout_ms\x00", "1")
	fails(t, err, rediscluster.ErrInvalid)
}

func TestSetCredentialsAreUsedByOpenConnections(t *testing.T) {
	rc := connect(t)
	must(t, rc.Set(bg, "credentials:go", "v"))
	_, err := rc.Do(bg, "ACL", "SETUSER", "go-user", "on", ">secret", "~*", "+@all")
	must(t, err)
	must(t, rc.SetCredentials("go-user", "secret"))
	for n := 0; n < 2; n++ {
		who, err := rc.Do(bg, "ACL", "WHOAMI")
		must(t, err)
		if text, _ := who.Text(); text != "go-user" {
			t.Fatalf("the user is %v", who)
		}
	}
	// Refused: the open connections keep their user.
	must(t, rc.SetCredentials("go-user", "wrong"))
	must(t, rc.Set(bg, "credentials:go", "v"))
	fails(t, rc.SetCredentials("go\nuser", "secret"), rediscluster.ErrInvalid)
	fails(t, rc.SetCredentials("go\x00user", "secret"), rediscluster.ErrInvalid)
	fails(t, rc.SetCredentials("go-user", ""), rediscluster.ErrInvalid)
	must(t, rc.Close())
	fails(t, rc.SetCredentials("go-user", "secret"), rediscluster.ErrClosed)
}

func TestClosedClientReturnsErrClosed(t *testing.T) {
	rc := connect(t)
	derived, err := rc.With("timeout_ms", "1000")
	must(t, err)
	defer derived.Close()
	must(t, rc.Close())
	must(t, rc.Close())
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	_, err = rc.Get(bg, "k")
	fails(t, err, rediscluster.ErrClosed)
	_, err = rc.Get(ctx, "k")
	fails(t, err, rediscluster.ErrClosed)
	_, err = rc.Pipeline().Get("k").Exec(bg)
	fails(t, err, rediscluster.ErrClosed)
	_, err = rc.Readonly()
	fails(t, err, rediscluster.ErrClosed)
	_, err = rc.Stats()
	fails(t, err, rediscluster.ErrClosed)
	must(t, derived.Set(bg, "k", "v"))
}

func TestCloseEndsCallsInProgress(t *testing.T) {
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	for _, ctx := range []context.Context{bg, ctx} {
		rc := connect(t)
		ended := make(chan error, 1)
		go func() {
			_, err := rc.Do(ctx, "BLPOP", "never", 0)
			ended <- err
		}()
		eventually(t, "a client blocks", func() bool { return blocked(t, "never") == 1 })
		must(t, rc.Close())
		fails(t, <-ended, rediscluster.ErrClosed)
		eventually(t, "no client blocks", func() bool { return blocked(t, "never") == 0 })
	}
}

// blocked returns the number of blocked clients at the primary that serves a key.
func blocked(t testing.TB, key string) int {
	t.Helper()
	port := ctl(t, "primary-of", "key:"+key)
	_, after, _ := strings.Cut(ctl(t, "command", port, "INFO", "clients"), "blocked_clients:")
	n := 0
	fmt.Sscan(after, &n)
	return n
}

func TestReadonlyReadsReplicasAndRefusesWrites(t *testing.T) {
	rc := connect(t)
	must(t, rc.Set(bg, "foo16706", "bar"))
	must(t, rc.Set(bg, "foo81", "foo"))
	_, err := rc.Del(bg, "foo")
	must(t, err)
	ctl(t, "wait-sync")
	readonly, err := rc.Readonly()
	must(t, err)
	defer readonly.Close()
	nodes := map[string]bool{}
	eventually(t, "both nodes of the slot answer", func() bool {
		v, err := readonly.Do(bg, "GET", "foo16706")
		must(t, err)
		same(t, v.String(), `"bar"`)
		nodes[v.Node()] = true
		return len(nodes) == 2
	})
	replies, err := readonly.Pipeline().Get("foo81").Get("foo16706").Exec(bg)
	must(t, err)
	same(t, fmt.Sprint(replies), `["foo" "bar"]`)

	same(t, fails(t, readonly.Set(bg, "foo", "bar"), rediscluster.ErrReadOnly).Sent, false)
	_, err = readonly.Do(bg, "NOSUCHCOMMAND", "foo")
	fails(t, err, rediscluster.ErrReadOnly)
	replies, err = readonly.Pipeline().Get("foo81").Set("foo", "bar").Exec(bg)
	fails(t, err, rediscluster.ErrReadOnly)
	same(t, len(replies), 2)
	for _, v := range replies {
		fails(t, v.Err(), rediscluster.ErrReadOnly)
	}
	_, err = rc.Get(bg, "foo")
	same(t, err, rediscluster.Nil)
}

func TestPipelineOf20000CommandsKeepsOrder(t *testing.T) {
	rc := connect(t)
	const n = 10000
	pipe := rc.Pipeline()
	for i := 0; i < n; i++ {
		pipe.SetPX(fmt.Sprint("many:", i), i, time.Minute).Get(fmt.Sprint("many:", i))
	}
	same(t, pipe.Len(), 2*n)
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	replies, err := pipe.Exec(ctx)
	must(t, err)
	same(t, len(replies), 2*n)
	for i := 0; i < n; i++ {
		same(t, replies[2*i].String(), "OK")
		got, err := replies[2*i+1].Int()
		must(t, err)
		same(t, got, int64(i))
	}
	same(t, pipe.Len(), 0)
	for i := 0; i < n; i++ {
		pipe.Del(fmt.Sprint("many:", i))
	}
	replies, err = pipe.Exec(bg)
	must(t, err)
	same(t, len(replies), n)
}

func TestPipelineErrorIsReturnedAtItsIndex(t *testing.T) {
	rc := connect(t)
	replies, err := rc.Pipeline().Set("p1", "text").Do("LPUSH", "p1", "x").Get("p1").Do("BLPOP", "p1", 0).Exec(bg)
	e := fails(t, err, rediscluster.ErrServer)
	if !strings.HasPrefix(e.Message, "Command # 2 (LPUSH p1) of pipeline: WRONGTYPE") || e.Node == "" {
		t.Fatalf("%+v", e)
	}
	same(t, len(replies), 4)
	same(t, replies[0].String()+replies[2].String(), `OK"text"`)
	fails(t, replies[1].Err(), rediscluster.ErrServer)
	same(t, fails(t, replies[3].Err(), rediscluster.ErrInvalid).Sent, false)

	replies, err = rc.Pipeline().Exec(bg)
	must(t, err)
	same(t, len(replies), 0)
}

func TestAtomicPipelineRequiresOneSlot(t *testing.T) {
	rc := connect(t)
	replies, err := rc.Pipeline().Set("{a}1", "1").Set("{a}2", "2").Get("{a}1").ExecAtomic(bg)
	must(t, err)
	same(t, fmt.Sprint(replies), `[OK OK "1"]`)
	replies, err = rc.Pipeline().Set("a", "1").Set("b", "2").ExecAtomic(bg)
	same(t, fails(t, err, rediscluster.ErrCrossSlot).Sent, false)
	same(t, len(replies), 0)
}

func TestWithTimeoutChangesOnlyTimeout(t *testing.T) {
	rc := connect(t)
	quick, err := rc.With("timeout_ms", "20")
	must(t, err)
	defer quick.Close()
	port := ctl(t, "primary-of", "key:with")
	must(t, quick.Set(bg, "with", 1))
	cont := stop(t, port)
	begun := time.Now()
	e := fails(t, quick.Set(bg, "with", 2), rediscluster.ErrTimeout)
	took := time.Since(begun)
	cont()
	if took > 500*time.Millisecond || e.Node == "" || !e.Sent {
		t.Fatalf("after %v: %+v", took, e)
	}
}

func TestTopologyAndStatsAreDecoded(t *testing.T) {
	rc := connect(t)
	v, err := rc.Topology()
	must(t, err)
	shards, err := v.Slice()
	must(t, err)
	same(t, len(shards), 3)
	stats, err := rc.Stats()
	must(t, err)
	all, err := stats.Map()
	must(t, err)
	_, err = all["commands"].Int()
	must(t, err)
}

func TestScanFindsEveryKeyAndStopsOnError(t *testing.T) {
	rc, ctx := connect(t), context.Background()
	defer rc.Close()
	pipe := rc.Pipeline()
	for i := 0; i < 500; i++ {
		pipe.Set(fmt.Sprint("go:scan:", i), i)
	}
	_, err := pipe.Exec(ctx)
	must(t, err)
	found := map[string]bool{}
	must(t, rc.Scan(ctx, "go:scan:*", func(key string) error {
		found[key] = true
		return nil
	}))
	same(t, len(found), 500)
	enough := errors.New("enough")
	seen := 0
	err = rc.Scan(ctx, "", func(string) error {
		if seen++; seen == 3 {
			return enough
		}
		return nil
	})
	same(t, err, enough)
	same(t, seen, 3)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := rc.Scan(cancelled, "", func(string) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// GETs are passed to the library in another way than other commands.
func TestPipelineOfGetsAndOthersKeepsOrder(t *testing.T) {
	rc := connect(t)
	keys := []string{"", "\r\n", "*2\r\n$3\r\nGET\r\n", strings.Repeat("k", 1000), "{mix}"}
	p := rc.Pipeline()
	for _, key := range keys {
		p.Get(key).Set(key, "value of "+key).Get(key).Do("get", key).Do("GET", key).Do("INCR", key).Del(key).Get(key)
	}
	replies, err := p.Exec(bg)
	if e := fails(t, err, rediscluster.ErrServer); !strings.HasPrefix(e.Message, "Command # 6 (INCR ") {
		t.Fatal(e)
	}
	same(t, len(replies), 8*len(keys))
	for i, key := range keys {
		want := fmt.Sprintf("%q", "value of "+key)
		same(t, fmt.Sprint(replies[8*i:8*i+5]), fmt.Sprintf("[(nil) OK %s %s %s]", want, want, want))
		fails(t, replies[8*i+5].Err(), rediscluster.ErrServer)
		same(t, fmt.Sprint(replies[8*i+6:8*i+8]), "[1 (nil)]")
	}
}

// Pipelines reuse memory; their replies do not.
func TestRepliesOutliveLaterPipelines(t *testing.T) {
	rc := connect(t)
	const count = 300
	var all [][]rediscluster.Value
	for round := 0; round < 20; round++ {
		p := rc.Pipeline()
		for i := 0; i < count; i++ {
			key := fmt.Sprint("outlive:", i)
			p.Set(key, fmt.Sprint(round, " ", i)).Get(key).Do("HGETALL", "outlive:none")
		}
		replies, err := p.Exec(bg)
		must(t, err)
		all = append(all, replies)
		runtime.GC()
	}
	for round, replies := range all {
		for i := 0; i < count; i++ {
			text, err := replies[3*i+1].Text()
			must(t, err)
			same(t, text, fmt.Sprint(round, " ", i))
			if replies[3*i].Node() == "" || replies[3*i].Node() != replies[3*i+1].Node() {
				t.Fatal(round, i, replies[3*i].Node(), replies[3*i+1].Node())
			}
		}
	}
}
