package goredis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// step is one command of a script that two clients run.
type step func(c redis.Cmdable) redis.Cmder

// scripts are commands of each group. The result of each must be that of go-redis's own client.
var scripts = map[string][]step{
	"strings": {
		func(c redis.Cmdable) redis.Cmder { return c.Set(bg, "s", "hello", 0) },
		func(c redis.Cmdable) redis.Cmder { return c.Set(bg, "timed", 1, 90*time.Second) },
		func(c redis.Cmdable) redis.Cmder { return c.SetNX(bg, "s", "other", 0) },
		func(c redis.Cmdable) redis.Cmder { return c.SetXX(bg, "s", "other", time.Minute) },
		func(c redis.Cmdable) redis.Cmder {
			return c.SetArgs(bg, "s", "third", redis.SetArgs{Get: true, KeepTTL: true})
		},
		func(c redis.Cmdable) redis.Cmder { return c.Get(bg, "s") },
		func(c redis.Cmdable) redis.Cmder { return c.Get(bg, "no such key") },
		func(c redis.Cmdable) redis.Cmder { return c.GetEx(bg, "s", time.Hour) },
		func(c redis.Cmdable) redis.Cmder { return c.GetSet(bg, "s", "fourth") },
		func(c redis.Cmdable) redis.Cmder { return c.Append(bg, "s", "!") },
		func(c redis.Cmdable) redis.Cmder { return c.StrLen(bg, "s") },
		func(c redis.Cmdable) redis.Cmder { return c.GetRange(bg, "s", 1, -2) },
		func(c redis.Cmdable) redis.Cmder { return c.SetRange(bg, "s", 2, "XX") },
		func(c redis.Cmdable) redis.Cmder { return c.Incr(bg, "n") },
		func(c redis.Cmdable) redis.Cmder { return c.IncrBy(bg, "n", 41) },
		func(c redis.Cmdable) redis.Cmder { return c.IncrByFloat(bg, "n", 0.5) },
		func(c redis.Cmdable) redis.Cmder { return c.DecrBy(bg, "m", 3) },
		func(c redis.Cmdable) redis.Cmder { return c.Incr(bg, "s") }, // an error
		func(c redis.Cmdable) redis.Cmder { return c.MSet(bg, "{m}1", "a", "{m}2", "b\r\n\x00c") },
		func(c redis.Cmdable) redis.Cmder { return c.MSetNX(bg, "{m}1", "a", "{m}3", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.MGet(bg, "{m}1", "{m}2", "{m}3") },
		func(c redis.Cmdable) redis.Cmder { return c.LCS(bg, &redis.LCSQuery{Key1: "{m}1", Key2: "{m}2"}) },
		func(c redis.Cmdable) redis.Cmder { return c.GetDel(bg, "s") },
		func(c redis.Cmdable) redis.Cmder { return c.Set(bg, "long", strings.Repeat("0123456789", 20000), 0) },
		func(c redis.Cmdable) redis.Cmder { return c.Get(bg, "long") },
		func(c redis.Cmdable) redis.Cmder { return c.Set(bg, "empty", "", 0) },
		func(c redis.Cmdable) redis.Cmder { return c.Get(bg, "empty") },
	},
	"keys": {
		func(c redis.Cmdable) redis.Cmder { return c.Set(bg, "k", "v", 0) },
		func(c redis.Cmdable) redis.Cmder { return c.Expire(bg, "k", time.Hour) },
		func(c redis.Cmdable) redis.Cmder { return c.ExpireGT(bg, "k", time.Minute) },
		func(c redis.Cmdable) redis.Cmder { return c.ExpireAt(bg, "k", time.Unix(4e9, 0)) },
		func(c redis.Cmdable) redis.Cmder { return c.ExpireTime(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.PExpireAt(bg, "k", time.Unix(4e9, 0)) },
		func(c redis.Cmdable) redis.Cmder { return c.PExpireTime(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.Persist(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.TTL(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.TTL(bg, "none") },
		func(c redis.Cmdable) redis.Cmder { return c.PTTL(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.Type(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.Exists(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.Touch(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.Dump(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.Rename(bg, "k", "{k}2") },
		func(c redis.Cmdable) redis.Cmder { return c.RenameNX(bg, "{k}2", "k") },
		func(c redis.Cmdable) redis.Cmder { return c.Copy(bg, "k", "{k}3", 0, true) },
		func(c redis.Cmdable) redis.Cmder { return c.ObjectEncoding(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.ObjectRefCount(bg, "k") },
		func(c redis.Cmdable) redis.Cmder { return c.RPush(bg, "sorted", 3, 1, 2) },
		func(c redis.Cmdable) redis.Cmder { return c.Sort(bg, "sorted", &redis.Sort{Order: "DESC"}) },
		func(c redis.Cmdable) redis.Cmder { return c.SortStore(bg, "sorted", "{sorted}2", &redis.Sort{}) },
		func(c redis.Cmdable) redis.Cmder { return c.Del(bg, "k", "{k}3", "{k}none") },
		func(c redis.Cmdable) redis.Cmder { return c.Unlink(bg, "sorted") },
	},
	"hashes": {
		func(c redis.Cmdable) redis.Cmder { return c.HSet(bg, "h", "a", 1, "b", "two") },
		func(c redis.Cmdable) redis.Cmder { return c.HSet(bg, "h", map[string]any{"c": 3.5}) },
		func(c redis.Cmdable) redis.Cmder { return c.HSetNX(bg, "h", "a", 2) },
		func(c redis.Cmdable) redis.Cmder { return c.HGet(bg, "h", "a") },
		func(c redis.Cmdable) redis.Cmder { return c.HGet(bg, "h", "none") },
		func(c redis.Cmdable) redis.Cmder { return c.HMGet(bg, "h", "a", "none", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.HGetAll(bg, "h") },
		func(c redis.Cmdable) redis.Cmder { return c.HGetAll(bg, "none") },
		func(c redis.Cmdable) redis.Cmder { return c.HKeys(bg, "h") },
		func(c redis.Cmdable) redis.Cmder { return c.HVals(bg, "h") },
		func(c redis.Cmdable) redis.Cmder { return c.HLen(bg, "h") },
		func(c redis.Cmdable) redis.Cmder { return c.HExists(bg, "h", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.HIncrBy(bg, "h", "a", 5) },
		func(c redis.Cmdable) redis.Cmder { return c.HIncrByFloat(bg, "h", "c", 0.25) },
		func(c redis.Cmdable) redis.Cmder { return c.HScan(bg, "h", 0, "*", 100) },
		func(c redis.Cmdable) redis.Cmder { return c.HDel(bg, "h", "b", "c") },
		func(c redis.Cmdable) redis.Cmder { return c.HRandField(bg, "h", 2) },
		func(c redis.Cmdable) redis.Cmder { return c.HRandFieldWithValues(bg, "h", 1) },
	},
	"lists": {
		func(c redis.Cmdable) redis.Cmder { return c.RPush(bg, "{l}", "a", "b", "c", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.LPush(bg, "{l}", "z") },
		func(c redis.Cmdable) redis.Cmder { return c.LPushX(bg, "{l}none", "z") },
		func(c redis.Cmdable) redis.Cmder { return c.LRange(bg, "{l}", 0, -1) },
		func(c redis.Cmdable) redis.Cmder { return c.LLen(bg, "{l}") },
		func(c redis.Cmdable) redis.Cmder { return c.LIndex(bg, "{l}", 1) },
		func(c redis.Cmdable) redis.Cmder { return c.LPos(bg, "{l}", "b", redis.LPosArgs{}) },
		func(c redis.Cmdable) redis.Cmder { return c.LPosCount(bg, "{l}", "b", 0, redis.LPosArgs{}) },
		func(c redis.Cmdable) redis.Cmder { return c.LInsertBefore(bg, "{l}", "b", "x") },
		func(c redis.Cmdable) redis.Cmder { return c.LSet(bg, "{l}", 0, "y") },
		func(c redis.Cmdable) redis.Cmder { return c.LRem(bg, "{l}", 1, "b") },
		func(c redis.Cmdable) redis.Cmder { return c.LTrim(bg, "{l}", 0, 3) },
		func(c redis.Cmdable) redis.Cmder { return c.LMove(bg, "{l}", "{l}2", "LEFT", "RIGHT") },
		func(c redis.Cmdable) redis.Cmder { return c.BLMove(bg, "{l}", "{l}2", "LEFT", "RIGHT", time.Second) },
		func(c redis.Cmdable) redis.Cmder { return c.LMPop(bg, "left", 2, "{l}", "{l}2") },
		func(c redis.Cmdable) redis.Cmder { return c.BLPop(bg, time.Second, "{l}none", "{l}2") },
		func(c redis.Cmdable) redis.Cmder { return c.BRPop(bg, time.Second, "{l}none") },
		func(c redis.Cmdable) redis.Cmder { return c.RPopLPush(bg, "{l}2", "{l}") },
		func(c redis.Cmdable) redis.Cmder { return c.LPop(bg, "{l}") },
		func(c redis.Cmdable) redis.Cmder { return c.RPopCount(bg, "{l}", 5) },
	},
	"sets": {
		func(c redis.Cmdable) redis.Cmder { return c.SAdd(bg, "{s}1", "a", "b", "c") },
		func(c redis.Cmdable) redis.Cmder { return c.SAdd(bg, "{s}2", "b", "d") },
		func(c redis.Cmdable) redis.Cmder { return c.SCard(bg, "{s}1") },
		func(c redis.Cmdable) redis.Cmder { return c.SIsMember(bg, "{s}1", "a") },
		func(c redis.Cmdable) redis.Cmder { return c.SMIsMember(bg, "{s}1", "a", "z") },
		func(c redis.Cmdable) redis.Cmder { return c.SMembers(bg, "{s}1") },
		func(c redis.Cmdable) redis.Cmder { return c.SMembersMap(bg, "{s}2") },
		func(c redis.Cmdable) redis.Cmder { return c.SInter(bg, "{s}1", "{s}2") },
		func(c redis.Cmdable) redis.Cmder { return c.SInterCard(bg, 10, "{s}1", "{s}2") },
		func(c redis.Cmdable) redis.Cmder { return c.SUnion(bg, "{s}1", "{s}2") },
		func(c redis.Cmdable) redis.Cmder { return c.SDiff(bg, "{s}1", "{s}2") },
		func(c redis.Cmdable) redis.Cmder { return c.SDiffStore(bg, "{s}3", "{s}1", "{s}2") },
		func(c redis.Cmdable) redis.Cmder { return c.SMove(bg, "{s}1", "{s}2", "a") },
		func(c redis.Cmdable) redis.Cmder { return c.SScan(bg, "{s}1", 0, "", 10) },
		func(c redis.Cmdable) redis.Cmder { return c.SRem(bg, "{s}1", "b", "c") },
		func(c redis.Cmdable) redis.Cmder { return c.SPop(bg, "{s}1") },
		func(c redis.Cmdable) redis.Cmder { return c.SRandMemberN(bg, "{s}2", 10) },
	},
	"sorted sets": {
		func(c redis.Cmdable) redis.Cmder {
			return c.ZAdd(bg, "{z}", redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2.5, Member: "b"}, redis.Z{Score: 3, Member: "c"})
		},
		func(c redis.Cmdable) redis.Cmder { return c.ZAddXX(bg, "{z}", redis.Z{Score: 4, Member: "c"}) },
		func(c redis.Cmdable) redis.Cmder {
			return c.ZAddArgsIncr(bg, "{z}", redis.ZAddArgs{Members: []redis.Z{{Score: 1, Member: "c"}}})
		},
		func(c redis.Cmdable) redis.Cmder { return c.ZCard(bg, "{z}") },
		func(c redis.Cmdable) redis.Cmder { return c.ZScore(bg, "{z}", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.ZScore(bg, "{z}", "none") },
		func(c redis.Cmdable) redis.Cmder { return c.ZMScore(bg, "{z}", "a", "none") },
		func(c redis.Cmdable) redis.Cmder { return c.ZCount(bg, "{z}", "1", "(3") },
		func(c redis.Cmdable) redis.Cmder { return c.ZIncrBy(bg, "{z}", 0.5, "a") },
		func(c redis.Cmdable) redis.Cmder { return c.ZRange(bg, "{z}", 0, -1) },
		func(c redis.Cmdable) redis.Cmder { return c.ZRangeWithScores(bg, "{z}", 0, -1) },
		func(c redis.Cmdable) redis.Cmder { return c.ZRevRangeWithScores(bg, "{z}", 0, 1) },
		func(c redis.Cmdable) redis.Cmder {
			return c.ZRangeByScoreWithScores(bg, "{z}", &redis.ZRangeBy{Min: "-inf", Max: "+inf", Offset: 1, Count: 5})
		},
		func(c redis.Cmdable) redis.Cmder {
			return c.ZRangeArgs(bg, redis.ZRangeArgs{Key: "{z}", Start: 0, Stop: 1, Rev: true})
		},
		func(c redis.Cmdable) redis.Cmder { return c.ZRank(bg, "{z}", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.ZRankWithScore(bg, "{z}", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.ZRevRank(bg, "{z}", "none") },
		func(c redis.Cmdable) redis.Cmder { return c.ZLexCount(bg, "{z}", "-", "+") },
		func(c redis.Cmdable) redis.Cmder {
			return c.ZUnionStore(bg, "{z}2", &redis.ZStore{Keys: []string{"{z}"}, Weights: []float64{2}})
		},
		func(c redis.Cmdable) redis.Cmder {
			return c.ZUnionWithScores(bg, redis.ZStore{Keys: []string{"{z}", "{z}2"}})
		},
		func(c redis.Cmdable) redis.Cmder { return c.ZDiff(bg, "{z}", "{z}none") },
		func(c redis.Cmdable) redis.Cmder { return c.ZScan(bg, "{z}", 0, "*", 10) },
		func(c redis.Cmdable) redis.Cmder { return c.ZMPop(bg, "max", 1, "{z}") },
		func(c redis.Cmdable) redis.Cmder { return c.BZPopMin(bg, time.Second, "{z}") },
		func(c redis.Cmdable) redis.Cmder { return c.BZPopMax(bg, time.Second, "{z}none") },
		func(c redis.Cmdable) redis.Cmder { return c.ZPopMax(bg, "{z}2", 2) },
		func(c redis.Cmdable) redis.Cmder { return c.ZRemRangeByRank(bg, "{z}2", 0, 10) },
		func(c redis.Cmdable) redis.Cmder { return c.ZRem(bg, "{z}", "a", "b", "c") },
	},
	"bitmaps, hyperloglog and geo": {
		func(c redis.Cmdable) redis.Cmder { return c.SetBit(bg, "{b}", 7, 1) },
		func(c redis.Cmdable) redis.Cmder { return c.GetBit(bg, "{b}", 7) },
		func(c redis.Cmdable) redis.Cmder { return c.BitCount(bg, "{b}", &redis.BitCount{Start: 0, End: -1}) },
		func(c redis.Cmdable) redis.Cmder { return c.BitPos(bg, "{b}", 1) },
		func(c redis.Cmdable) redis.Cmder { return c.BitOpNot(bg, "{b}2", "{b}") },
		func(c redis.Cmdable) redis.Cmder { return c.BitField(bg, "{b}", "INCRBY", "u8", 0, 9, "GET", "u4", 4) },
		func(c redis.Cmdable) redis.Cmder { return c.PFAdd(bg, "{p}1", "a", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.PFMerge(bg, "{p}2", "{p}1") },
		func(c redis.Cmdable) redis.Cmder { return c.PFCount(bg, "{p}1", "{p}2") },
		func(c redis.Cmdable) redis.Cmder {
			return c.GeoAdd(bg, "{g}", &redis.GeoLocation{Name: "Palermo", Longitude: 13.361389, Latitude: 38.115556},
				&redis.GeoLocation{Name: "Catania", Longitude: 15.087269, Latitude: 37.502669})
		},
		func(c redis.Cmdable) redis.Cmder { return c.GeoDist(bg, "{g}", "Palermo", "Catania", "km") },
		func(c redis.Cmdable) redis.Cmder { return c.GeoHash(bg, "{g}", "Palermo", "none") },
		func(c redis.Cmdable) redis.Cmder { return c.GeoPos(bg, "{g}", "Palermo", "none") },
		func(c redis.Cmdable) redis.Cmder {
			return c.GeoSearchLocation(bg, "{g}", &redis.GeoSearchLocationQuery{
				GeoSearchQuery: redis.GeoSearchQuery{Longitude: 15, Latitude: 37, Radius: 200, RadiusUnit: "km", Sort: "ASC"},
				WithCoord:      true, WithDist: true,
			})
		},
	},
	"streams": {
		func(c redis.Cmdable) redis.Cmder {
			return c.XAdd(bg, &redis.XAddArgs{Stream: "x", ID: "1-1", Values: []any{"a", 1, "b", 2}})
		},
		func(c redis.Cmdable) redis.Cmder {
			return c.XAdd(bg, &redis.XAddArgs{Stream: "x", ID: "2-1", Values: map[string]any{"c": "d"}})
		},
		func(c redis.Cmdable) redis.Cmder { return c.XLen(bg, "x") },
		func(c redis.Cmdable) redis.Cmder { return c.XRange(bg, "x", "-", "+") },
		func(c redis.Cmdable) redis.Cmder { return c.XRevRangeN(bg, "x", "+", "-", 1) },
		func(c redis.Cmdable) redis.Cmder {
			return c.XRead(bg, &redis.XReadArgs{Streams: []string{"x", "0"}, Count: 5, Block: -1})
		},
		func(c redis.Cmdable) redis.Cmder {
			return c.XRead(bg, &redis.XReadArgs{Streams: []string{"x", "$"}, Block: 10 * time.Millisecond})
		},
		func(c redis.Cmdable) redis.Cmder { return c.XGroupCreate(bg, "x", "group", "0") },
		func(c redis.Cmdable) redis.Cmder {
			return c.XReadGroup(bg, &redis.XReadGroupArgs{Group: "group", Consumer: "me", Streams: []string{"x", ">"}, Block: -1})
		},
		func(c redis.Cmdable) redis.Cmder { return c.XPending(bg, "x", "group") },
		func(c redis.Cmdable) redis.Cmder { return c.XAck(bg, "x", "group", "1-1") },
		func(c redis.Cmdable) redis.Cmder {
			return c.XClaim(bg, &redis.XClaimArgs{Stream: "x", Group: "group", Consumer: "you", Messages: []string{"2-1"}})
		},
		func(c redis.Cmdable) redis.Cmder {
			return c.XAutoClaim(bg, &redis.XAutoClaimArgs{Stream: "x", Group: "group", Consumer: "me", Start: "0"})
		},
		func(c redis.Cmdable) redis.Cmder { return c.XInfoGroups(bg, "x") },
		func(c redis.Cmdable) redis.Cmder { return c.XInfoStream(bg, "x") },
		func(c redis.Cmdable) redis.Cmder { return c.XTrimMaxLen(bg, "x", 1) },
		func(c redis.Cmdable) redis.Cmder { return c.XDel(bg, "x", "2-1") },
	},
	"scripts and functions": {
		func(c redis.Cmdable) redis.Cmder {
			return c.Eval(bg, "return {KEYS[1], ARGV[1], 3, {4}}", []string{"k"}, "argument")
		},
		func(c redis.Cmdable) redis.Cmder { return c.ScriptLoad(bg, "return 42") },
		func(c redis.Cmdable) redis.Cmder {
			return c.EvalSha(bg, "1fa00e76656cc152ad327c13fe365858fd7be306", []string{"k"})
		},
		func(c redis.Cmdable) redis.Cmder {
			return c.ScriptExists(bg, "1fa00e76656cc152ad327c13fe365858fd7be306", "0000000000000000000000000000000000000000")
		},
		func(c redis.Cmdable) redis.Cmder {
			return c.Eval(bg, "return redis.error_reply('MINE own')", []string{"k"})
		},
		func(c redis.Cmdable) redis.Cmder {
			return c.EvalRO(bg, "return redis.call('get', KEYS[1])", []string{"k"})
		},
	},
	"servers": {
		func(c redis.Cmdable) redis.Cmder { return c.Ping(bg) },
		func(c redis.Cmdable) redis.Cmder { return c.Echo(bg, "hello") },
		func(c redis.Cmdable) redis.Cmder { return c.ConfigGet(bg, "maxmemory") },
		func(c redis.Cmdable) redis.Cmder { return c.ClusterKeySlot(bg, "foo") },
		func(c redis.Cmdable) redis.Cmder { return c.DBSize(bg) },
		func(c redis.Cmdable) redis.Cmder { return c.ACLWhoAmI(bg) },
		func(c redis.Cmdable) redis.Cmder { return c.Command(bg) },
		func(c redis.Cmdable) redis.Cmder { return c.CommandGetKeys(bg, "mget", "a", "b") },
		func(c redis.Cmdable) redis.Cmder { return c.PubSubNumSub(bg, "none") },
		func(c redis.Cmdable) redis.Cmder { return c.SlowLogGet(bg, 0) },
	},
}

// unstable is what differs between two runs, by the clocks of the servers.
var unstable = regexp.MustCompile(`"Idle":[0-9]+`)

// outcome describes a command's result.
func outcome(cmd redis.Cmder) string {
	val := reflect.ValueOf(cmd).MethodByName("Val")
	text := fmt.Sprintf("%s = ", strings.ToLower(fmt.Sprint(cmd.Args()[0])))
	if val.IsValid() {
		for _, v := range val.Call(nil) {
			inside, err := json.Marshal(v.Interface())
			text += fmt.Sprint(string(inside), err, " ")
		}
	}
	return unstable.ReplaceAllString(text, "") + fmt.Sprint(cmd.Err())
}

func flush(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	if cluster, ok := c.(*redis.ClusterClient); ok {
		must(t, cluster.ForEachMaster(bg, func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() }))
		return
	}
	must(t, c.FlushAll(bg).Err())
}

func TestCommandsReturnWhatGoRedisReturns(t *testing.T) {
	ours, theirs := connect(t), original(t)
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			flush(t, theirs)
			var want []string
			for _, run := range script {
				want = append(want, outcome(run(theirs)))
			}
			flush(t, ours)
			for i, run := range script {
				if got := outcome(run(ours)); got != want[i] {
					t.Errorf("got  %s\nwant %s", got, want[i])
				}
			}
			// The same in one pipeline, in which blocking commands and SCAN are run alone.
			flush(t, ours)
			cmds, _ := ours.Pipelined(bg, func(p redis.Pipeliner) error {
				for _, run := range script {
					run(p)
				}
				return nil
			})
			for i, cmd := range cmds {
				if got := outcome(cmd); got != want[i] {
					t.Errorf("in a pipeline: got  %s\nwant %s", got, want[i])
				}
			}
		})
	}
}
