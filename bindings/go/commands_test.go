package rediscluster_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

func TestGeneratedFilesAreCurrent(t *testing.T) {
	if output, err := exec.Command("python3", "../../tools/commands/methods.py", "--check").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

// got formats what a method returns.
func got(results ...any) string { return fmt.Sprintf("%v", results) }

func TestGeneratedMethodsReturnTypedReplies(t *testing.T) {
	for _, protocol := range []string{"2", "3"} {
		t.Run("RESP"+protocol, func(t *testing.T) {
			rc := connect(t, rediscluster.WithOption("protocol", protocol))
			must(t, rc.FlushAll(bg))
			// A method with more than two results is called by a function with one.
			page := func(elements []string, next string, err error) string { return got(elements, next, err) }
			popped := func(key, member string, score float64, err error) string { return got(key, member, score, err) }
			several := func(key string, texts []string, err error) string { return got(key, texts, err) }
			one := func(key, text string, err error) string { return got(key, text, err) }
			value := func(v rediscluster.Value, err error) string { return got(v, err) }
			values := func(v []rediscluster.Value, err error) string { return got(v, err) }
			for i, step := range []struct{ got, want string }{
				{got(rc.Set(bg, "{s}", "hello")), "[<nil>]"},
				{got(rc.SetOptions(bg, "{s}", "x", "NX")), "[ rediscluster: nil]"},
				{got(rc.SetOptions(bg, "{s}", "hello", "XX", "EX", 60)), "[OK <nil>]"},
				{got(rc.Get(bg, "{s}none")), "[ rediscluster: nil]"},
				{got(rc.GetRange(bg, "{s}", 0, 1)), "[he <nil>]"},
				{got(rc.Append(bg, "{s}", "!")), "[6 <nil>]"},
				{got(rc.MSet(bg, "{m}1", "a", "{m}2", 2.5)), "[<nil>]"},
				{values(rc.MGet(bg, "{m}1", "{m}none", "{m}2")), `[["a" (nil) "2.5"] <nil>]`},
				{got(rc.IncrByFloat(bg, "{m}2", 0.25)), "[2.75 <nil>]"},
				{got(rc.Expire(bg, "{s}", 1500*time.Millisecond, "GT")), "[false <nil>]"},
				{got(rc.ExpireAt(bg, "{s}", time.Unix(4000000000, 0))), "[true <nil>]"},
				{got(rc.PExpireTime(bg, "{s}")), "[4000000000000 <nil>]"},
				{got(rc.Type(bg, "{s}")), "[string <nil>]"},
				{got(rc.Del(bg, "{s}", "{m}1", "none")), "[2 <nil>]"},
				{got(rc.HSet(bg, "h", "a", 1, "b", "two")), "[2 <nil>]"},
				{got(rc.HGetAll(bg, "h")), "[map[a:1 b:two] <nil>]"},
				{got(rc.HGetAll(bg, "none")), "[map[] <nil>]"},
				{values(rc.HMGet(bg, "h", "a", "none")), `[["1" (nil)] <nil>]`},
				{page(rc.HScan(bg, "h", "0", "MATCH", "a")), "[[a 1] 0 <nil>]"},
				{got(rc.HExists(bg, "h", "none")), "[false <nil>]"},
				{got(rc.RPush(bg, "{l}", "a", "b", 3)), "[3 <nil>]"},
				{got(rc.LRange(bg, "{l}", 0, -1)), "[[a b 3] <nil>]"},
				{got(rc.LPos(bg, "{l}", "none")), "[0 rediscluster: nil]"},
				{value(rc.LPosOptions(bg, "{l}", "b", "COUNT", 0)), "[[1] <nil>]"},
				{got(rc.LPopCount(bg, "{l}none", 2)), "[[] rediscluster: nil]"},
				{several(rc.LMPop(bg, []string{"{l}none", "{l}"}, "LEFT", "COUNT", 2)), "[{l} [a b] <nil>]"},
				{one(rc.BLPop(bg, time.Second, "{l}none", "{l}")), "[{l} 3 <nil>]"},
				{one(rc.BLPop(bg, 10*time.Millisecond, "{l}none")), "[  rediscluster: nil]"},
				{got(rc.SAdd(bg, "set", "a", "b")), "[2 <nil>]"},
				{got(rc.SMIsMember(bg, "set", "a", "z")), "[[true false] <nil>]"},
				{got(rc.SInterCard(bg, []string{"set"}, "LIMIT", 5)), "[2 <nil>]"},
				{got(rc.ZAdd(bg, "{z}", 1, "a", 2.5, "b")), "[2 <nil>]"},
				{got(rc.ZScore(bg, "{z}", "b")), "[2.5 <nil>]"},
				{got(rc.ZRank(bg, "{z}", "none")), "[0 rediscluster: nil]"},
				{got(rc.ZRange(bg, "{z}", 0, -1)), "[[a b] <nil>]"},
				{got(rc.ZRangeWithScores(bg, "{z}", 0, -1)), "[[{a 1} {b 2.5}] <nil>]"},
				{got(rc.ZRangeWithScores(bg, "{z}", "-inf", "(2", "BYSCORE", "LIMIT", 0, 5)), "[[{a 1}] <nil>]"},
				{got(rc.ZRangeByScoreWithScores(bg, "{z}", "(1", "+inf")), "[[{b 2.5}] <nil>]"},
				{got(rc.ZUnionWithScores(bg, []string{"{z}", "{z}"})), "[[{a 2} {b 5}] <nil>]"},
				{values(rc.ZMScore(bg, "{z}", "none")), "[[(nil)] <nil>]"},
				{popped(rc.BZPopMax(bg, time.Second, "{z}")), "[{z} b 2.5 <nil>]"},
				{got(rc.ZPopMinN(bg, "{z}", 5)), "[[{a 1}] <nil>]"},
				{got(rc.PFAdd(bg, "hll", "a")), "[true <nil>]"},
				{got(rc.GeoAdd(bg, "geo", 13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")), "[2 <nil>]"},
				{got(rc.GeoDist(bg, "geo", "Palermo", "Catania", "km")), "[166.2742 <nil>]"},
				{got(rc.XAdd(bg, "x", "1-1", "a", 1)), "[1-1 <nil>]"},
				{got(rc.XRange(bg, "x", "-", "+")), "[[{1-1 map[a:1]}] <nil>]"},
				{got(rc.XRead(bg, "COUNT", 5, "STREAMS", "x", "0")), "[map[x:[{1-1 map[a:1]}]] <nil>]"},
				{got(rc.XRead(bg, "BLOCK", 10, "STREAMS", "x", "$")), "[map[] rediscluster: nil]"},
				{got(rc.XGroupCreate(bg, "x", "group", "0")), "[<nil>]"},
				{got(rc.XReadGroup(bg, "GROUP", "group", "me", "STREAMS", "x", ">")), "[map[x:[{1-1 map[a:1]}]] <nil>]"},
				{got(rc.XAck(bg, "x", "group", "1-1")), "[1 <nil>]"},
				{value(rc.Eval(bg, "return {KEYS[1], ARGV[1]}", []string{"k"}, 7)), `[["k" "7"] <nil>]`},
				{got(rc.ScriptExists(bg, "0000000000000000000000000000000000000000")), "[[false] <nil>]"},
				{got(rc.ConfigGet(bg, "maxmemory-samples")), "[map[maxmemory-samples:5] <nil>]"},
				{got(rc.ClusterKeySlot(bg, "foo")), "[12182 <nil>]"},
				{got(rc.PubSubNumSub(bg, "news")), "[map[news:0] <nil>]"},
				{got(rc.Ping(bg)), "[PONG <nil>]"},
			} {
				if step.got != step.want {
					t.Errorf("step %d: got %s, want %s", i, step.got, step.want)
				}
			}
			if _, err := rc.SAdd(bg, "set", struct{}{}); !errors.Is(err, rediscluster.ErrInvalid) || err.Error() != "rediscluster: INVALID argument 2 has type struct {}; pass a string, []byte, bool or number" {
				t.Error(err)
			}
			if _, err := rc.LPush(bg, "h", 1); !errors.Is(err, rediscluster.ErrServer) {
				t.Error(err)
			}
			replies, err := rc.Pipeline().HSet("h", "c", 3).HGetAll("h").ZRangeWithScores("none", 0, 1).SAdd("set", "c").Exec(bg)
			must(t, err)
			hash, err := replies[1].TextMap()
			same(t, got(hash, err, len(replies)), "[map[a:1 b:two c:3] <nil> 4]")
		})
	}
}

func TestRequestsToNodesAndPinnedConnections(t *testing.T) {
	rc := connect(t)
	nodes, err := rc.Nodes()
	must(t, err)
	primaries := 0
	for _, node := range nodes {
		v, err := rc.DoTo(bg, node.Address, "ROLE")
		must(t, err)
		role, err := v.Slice()
		must(t, err)
		same(t, role[0].String() == `"master"`, node.Primary)
		if node.Primary {
			primaries++
		}
	}
	same(t, primaries*2, len(nodes))
	all, err := rc.DoTo(bg, "primaries", rediscluster.Encoded("*1\r\n$4\r\nPING\r\n"))
	must(t, err)
	same(t, all.Kind(), rediscluster.KindMap)
	_, err = rc.DoTo(bg, "nowhere:1", "PING")
	fails(t, err, rediscluster.ErrInvalid)
	route, err := rc.Explain("GET", "foo")
	must(t, err)
	fields, err := route.Map()
	must(t, err)
	same(t, fields["slots"].String(), "[12182]")
	must(t, rc.Refresh())

	must(t, rc.Set(bg, "{w}", 1))
	add := func(between func()) error {
		return rc.Watch(bg, func(tx *rediscluster.Client) error {
			text, err := tx.Get(bg, "{w}")
			if err != nil {
				return err
			}
			between()
			replies, err := tx.Pipeline().Set("{w}", text+"1").Get("{w}").ExecAtomic(bg)
			if err == nil {
				same(t, len(replies), 2)
				same(t, replies[1].String(), fmt.Sprintf("%q", text+"1"))
			}
			return err
		}, "{w}", "{w}2")
	}
	must(t, add(func() {}))
	same(t, add(func() { must(t, rc.Set(bg, "{w}2", 1)) }), rediscluster.ErrTxFailed)
	text, err := rc.Get(bg, "{w}")
	must(t, err)
	same(t, text, "11")
	// What is refused when it is queued refuses the transaction.
	err = rc.Watch(bg, func(tx *rediscluster.Client) error {
		_, err := tx.Pipeline().Set("{w}", 5).Do("INCR", "{w}", "too", "many").ExecAtomic(bg)
		return err
	}, "{w}")
	if e := fails(t, err, rediscluster.ErrServer); e.Message[:4] != "ERR " {
		t.Fatal(e)
	}
	fails(t, rc.Watch(bg, func(*rediscluster.Client) error { return os.ErrExist }), rediscluster.ErrInvalid)
	same(t, rc.Watch(bg, func(*rediscluster.Client) error { return os.ErrExist }, "a"), os.ErrExist)

	pinned, err := rc.Pin("{w}")
	must(t, err)
	defer pinned.Close()
	begun := time.Now()
	_, _, err = pinned.BLPop(within(t, 50*time.Millisecond), 0, "{w}list")
	fails(t, err, rediscluster.ErrTimeout)
	if took := time.Since(begun); took > 2*time.Second {
		t.Fatal(took)
	}
	must(t, pinned.Set(bg, "{w}", "usable"))
}

func TestEncodedCommandsPassThrough(t *testing.T) {
	rc := connect(t)
	_, err := rc.Do(bg, "DEL", "{e}", "{e}list")
	must(t, err)
	for command, want := range map[string]string{
		"*3\r\n$3\r\nset\r\n$3\r\n{e}\r\n$2\r\n\r\n\r\n":                                               "+OK\r\n",
		"*4\r\n$5\r\nRPUSH\r\n$7\r\n{e}list\r\n$1\r\na\r\n$0\r\n\r\n":                                  ":2\r\n",
		"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n":                                                            "_\r\n",
		"*5\r\n$4\r\nEVAL\r\n$27\r\nreturn {1, {'a', false}, {}}\r\n$1\r\n0\r\n$1\r\na\r\n$1\r\nb\r\n": "",
	} {
		v, err := rc.Do(bg, rediscluster.Encoded(command))
		if want == "" {
			fails(t, err, rediscluster.ErrInvalid) // 27 bytes were announced
			continue
		}
		must(t, err)
		same(t, string(v.AppendRESP(nil)), want)
	}
	const list = "*4\r\n$6\r\nLRANGE\r\n$7\r\n{e}list\r\n$1\r\n0\r\n$2\r\n-1\r\n"
	const encoded = "*2\r\n$1\r\na\r\n$0\r\n\r\n"
	v, err := rc.Do(bg, rediscluster.Encoded(list))
	must(t, err)
	same(t, string(v.AppendRESP([]byte("before"))), "before"+encoded)
	same(t, v.Kind(), rediscluster.KindArray)
	if _, err := v.Slice(); err == nil {
		t.Fatal("an encoded reply has elements")
	}
	plain, err := rc.Do(bg, "LRANGE", "{e}list", 0, -1)
	must(t, err)
	same(t, string(plain.AppendRESP(nil)), encoded)
	replies, err := rc.Pipeline().Do(rediscluster.Encoded(list + list)).Get("{e}").Exec(bg)
	must(t, err)
	same(t, len(replies), 3)
	same(t, string(replies[1].AppendRESP(nil)), encoded)
	for _, malformed := range []string{"", "PING", "*1\r\n", "*0\r\n", "*1\r\n$4\r\nPING", "*1\r\n$5\r\nPING\r\n", "*1\r\n$-1\r\n", list + list} {
		_, err := rc.Do(bg, rediscluster.Encoded(malformed))
		fails(t, err, rediscluster.ErrInvalid)
	}
	_, err = rc.Pipeline().Do(rediscluster.Encoded(list + "*1\r\n")).Exec(bg)
	fails(t, err, rediscluster.ErrInvalid)
}
