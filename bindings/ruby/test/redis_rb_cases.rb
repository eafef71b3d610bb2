# frozen_string_literal: true

# Calls of redis-rb, by group. Each block gets a recorder of the results and a function that makes keys of one slot. The
# calls do not depend on the results of earlier ones, so that they run in a pipeline too.
module RedisRbCases
  ALL = {
    "set" => lambda do |c, k|
      c.set(k[], "v"); c.set(k[], 7); c.set(k[], :symbol); c.set(k[], nil); c.set(k[], true); c.set(k[], 1.5)
      c.set(k[], "a", ex: 100); c.set(k[], "a", px: 100_000); c.set(k[], "a", exat: 4_000_000_000)
      c.set(k[], "a", pxat: 4_000_000_000_000); c.set(k[], "a", keepttl: true); c.ttl(k[])
      c.set(k[], "b", nx: true); c.set(k["n"], "b", nx: true); c.set(k["m"], "b", xx: true); c.set(k[], "c", xx: true)
      c.set(k[], "d", get: true); c.set(k["g"], "d", get: true); c.set(k[], "e", xx: true, get: true)
      c.set(k[], "x", ex: 10.7); c.ttl(k[])
    end,
    "strings" => lambda do |c, k|
      c.set(k[], "10"); c.get(k[]); c.get(k["none"]); c.incr(k[]); c.decr(k[]); c.incrby(k[], 5); c.decrby(k[], 3)
      c.incrbyfloat(k[], 0.5); c.incrbyfloat(k[], "1e2"); c.append(k[], "x"); c.strlen(k[]); c.getrange(k[], 0, 2)
      c.setrange(k[], 1, "yy"); c.getset(k[], "new"); c.getset(k["none"], nil); c.getdel(k[]); c.getdel(k[])
      c.setex(k[], 100, 5); c.psetex(k[], 100_000, nil); c.setnx(k[], 1); c.setnx(k["n"], :v)
      c.getex(k[], ex: 50); c.ttl(k[]); c.getex(k[], persist: true); c.ttl(k[]); c.getex(k[], pxat: 4_000_000_000_000)
      c.set(k["b"], "\xff\x00".b); c.get(k["b"]); c.set(k["u"], "gr\u00fc\u00df"); c.get(k["u"])
    end,
    "many strings" => lambda do |c, k|
      c.mset(k["a"], 1, k["b"], 2); c.mset([k["a"], 1, k["b"], 2]); c.mget(k["a"], k["c"]); c.mget([k["a"], k["b"]])
      c.mapped_mset(k["a"] => 3); c.mapped_mget(k["a"], k["none"]); c.msetnx(k["a"], 1, k["d"], 1)
      c.msetnx(k["e"], 1); c.mapped_msetnx(k["f"] => 1); c.del(k["a"], k["b"]); c.del([k["e"]]); c.del(k["none"])
      c.mget(k["f"], k["d"]) { |values| values.map(&:to_i) }
    end,
    "bitmaps" => lambda do |c, k|
      c.setbit(k[], 7, 1); c.setbit(k[], 7, 0); c.setbit(k[], 9, 1); c.getbit(k[], 9); c.bitcount(k[])
      c.bitcount(k[], 0, 0)
      c.bitcount(k[], 0, 8, scale: "BIT"); c.bitpos(k[], 1); c.bitpos(k[], 1, 1); c.bitpos(k[], 0, 0, 1)
      c.bitpos(k[], 1, 2, 12, scale: "BIT"); c.bitop("NOT", k["d"], k[]); c.bitop(:and, k["d"], k[], k["d"])
      c.bitop("OR", k["d"], [k[], k["d"]]); c.bitpos(k[], 1, nil, 5)
    end,
    "keys" => lambda do |c, k|
      c.set(k[], 1); c.exists(k[], k["none"]); c.exists?(k[]); c.exists?(k["none"]); c.type(k[]); c.type(k["none"])
      c.expire(k[], 100); c.expire(k[], 50.9); c.expire(k["none"], 1); c.expire(k[], 10, gt: true)
      c.expire(k[], 200, gt: true)
      c.expire(k[], 5, nx: true); c.expire(k[], 90, lt: true); c.expire(k[], 80, xx: true); c.ttl(k[]); c.persist(k[])
      c.persist(k[]); c.pexpire(k[], 100_000); c.expireat(k[], 4_000_000_000); c.expiretime(k[])
      c.pexpireat(k[], 4_000_000_000_000)
      c.pexpiretime(k[]); c.ttl(k["none"]); c.pttl(k["none"]); c.rename(k[], k["r"]); c.renamenx(k["r"], k[])
      c.copy(k[], k["c"]); c.copy(k[], k["c"]); c.copy(k[], k["c"], replace: true); c.unlink(k["c"], k["none"])
      c.unlink([k["x"]])
      c.object("encoding", k[]); c.object(:refcount, k["none"]); c.dump(k[]); c.dump(k["none"]);
      c.restore(k["s"], 0, "\x00\x01v\x0b\x00\xe6\xd1\x8b\x81\x95\xf3\x0f\xfa".b)
      c.restore(k[], 0, "x", replace: true)
      c.migrate(k["none"], host: "127.0.0.1", port: 1, db: 0, timeout: 10)
      c.migrate([k["none"]], host: "127.0.0.1", port: 1, db: 0, timeout: 10, copy: true)
    end,
    "sort" => lambda do |c, k|
      c.rpush(k[], [3, 1, 2]); c.sort(k[]); c.sort(k[], order: "desc")
      c.sort(k[], order: "desc alpha", limit: [0, 2])
      c.sort(k[], store: k["s"]); c.sort(k["none"])
    end,
    "hashes" => lambda do |c, k|
      c.hset(k[], "a", 1, "b", 2); c.hset(k[], { c: 3 }); c.hset(k[], "a", 5); c.hsetnx(k[], "a", 1)
      c.hsetnx(k[], "n", 1)
      c.hget(k[], "a"); c.hget(k[], "none"); c.hmset(k[], "x", 1); c.mapped_hmset(k[], { y: 2 })
      c.hmget(k[], "a", "none")
      c.hmget(k[], %w[a b]); c.mapped_hmget(k[], "a", "none"); c.mapped_hmget(k[], %w[a b]); c.hgetall(k[])
      c.hgetall(k["none"])
      c.hkeys(k[]); c.hvals(k[]); c.hlen(k[]); c.hexists(k[], "a"); c.hexists(k[], "none"); c.hincrby(k[], "a", 2)
      c.hincrbyfloat(k[], "a", 1.5); c.hdel(k[], "a"); c.hdel(k[], %w[b c], "none"); c.hscan(k[], 0)
      c.hscan(k[], "0", match: "x", count: 5)
      c.del(k[]); c.hset(k[], "one", 1); c.hrandfield(k[]); c.hrandfield(k[], 2)
      c.hrandfield(k[], 1, with_values: true)
      c.hrandfield(k["none"]); c.hrandfield(k["none"], 2, withvalues: true); c.hrandfield(k[], with_values: true)
      c.hmget(k[], "one") { |values| values.first.to_i }
    end,
    "lists" => lambda do |c, k|
      c.rpush(k[], %w[a b c]); c.lpush(k[], "z"); c.lpushx(k["none"], 1); c.rpushx(k[], "d"); c.lrange(k[], 0, -1)
      c.llen(k[])
      c.lindex(k[], 1); c.lindex(k[], 99); c.lset(k[], 0, "y"); c.lset(k["none"], 0, "y")
      c.linsert(k[], "BEFORE", "b", "i")
      c.linsert(k[], :after, "none", "i"); c.lrem(k[], 0, "i"); c.ltrim(k[], 0, 2); c.lpop(k[]); c.rpop(k[])
      c.lpop(k["none"])
      c.rpush(k[], %w[1 2 3 4]); c.lpop(k[], 2); c.rpop(k[], 2); c.lpop(k["none"], 2); c.rpoplpush(k[], k["o"])
      c.lmove(k["o"], k["p"], "LEFT", :right); c.lmove(k["none"], k["p"], "left", "RIGHT")
      c.lmove(k["o"], k["p"], "UP", "LEFT")
     
    end,
    "sets" => lambda do |c, k|
      c.sadd(k[], %w[a b]); c.sadd(k[], "a"); c.sadd?(k[], "c"); c.sadd?(k[], "c"); c.sadd(k[], "d", "e")
      c.srem(k[], "d", "x")
      c.srem?(k[], "e"); c.srem?(k[], "e"); c.smembers(k["none"]); c.scard(k[]); c.sismember(k[], "a")
      c.sismember(k[], "x")
      c.smismember(k[], "a", "x"); c.smismember(k[], %w[a x]); c.smove(k[], k["t"], "c")
      c.smove(k[], k["t"], "x"); c.smembers(k["t"])
      c.sinter(k["t"], k["t"]); c.sinter(k[], k["t"]); c.sunion(k["t"], k["none"]); c.sunion([k["t"]])
      c.sdiff(k["t"], k["none"])
      c.sinterstore(k["d"], k[], k["t"]); c.sunionstore(k["d"], k[], k["t"]); c.sdiffstore(k["d"], [k[], k["t"]])
      c.srandmember(k["t"]); c.srandmember(k["t"], 2); c.srandmember(k["none"]); c.spop(k["t"]); c.spop(k["t"])
      c.spop(k["none"], 2)
      c.sadd(k["o"], "one"); c.spop(k["o"], 1); c.sadd(k["o"], "one"); c.sscan(k["o"], 0)
      c.sscan(k["o"], 0, match: "x*", count: 3)
    end,
    "sorted sets" => lambda do |c, k|
      c.zadd(k[], 1, "a"); c.zadd(k[], 2, "a"); c.zadd(k[], [[1.5, "b"], ["inf", "c"]]); c.zadd(k[], [])
      c.zadd(k[], 5, "a", nx: true)
      c.zadd(k[], [[3, "a"]], ch: true); c.zadd(k[], 1, "a", incr: true); c.zadd(k[], 9, "a", lt: true, ch: true)
      c.zadd(k[], 9, "d", xx: true); c.zadd(k[], 9, "d", xx: true, incr: true); c.zadd(k[], [[9, "b"]], gt: true)
      c.zadd(k[], 1)
      c.zincrby(k[], 0.25, "a"); c.zscore(k[], "a"); c.zscore(k[], "c"); c.zscore(k[], "none")
      c.zmscore(k[], "a", "none")
      c.zcard(k[]); c.zcount(k[], 0, "(5"); c.zlexcount(k[], "-", "+"); c.zrank(k[], "b"); c.zrevrank(k[], "b")
      c.zrank(k[], "none")
      c.zrem(k[], "d"); c.zrem(k[], %w[b x]); c.zrem(k[], []); c.zpopmin(k[]); c.zpopmax(k[])
      c.zpopmin(k["none"]); c.zpopmax(k["none"], 2)
      c.zadd(k[], (1..9).map { |i| [i, "m#{i}"] }); c.zpopmin(k[], 2); c.zpopmax(k[], 1);
      c.zremrangebyrank(k[], 0, 0); c.zremrangebyscore(k[], 0, 4); c.del(k[])
      c.zadd(k[], 1, "one"); c.zrandmember(k[]); c.zrandmember(k[], 3); c.zrandmember(k[], 1, with_scores: true)
      c.zrandmember(k["none"])
      c.zrandmember(k[], withscores: true); c.zscan(k[], 0); c.zscan(k[], 0, match: "x*")
    end,
    "ranges of sorted sets" => lambda do |c, k|
      c.zadd(k[], [[1, "a"], [2.5, "b"], [3, "c"]]); c.zrange(k[], 0, -1); c.zrange(k[], 0, 1, with_scores: true)
      c.zrange(k[], 0, 1, withscores: true)
      c.zrange(k[], 3, 1, by_score: true, rev: true, limit: [0, 2], with_scores: true)
      c.zrange(k[], "[a", "(c", bylex: true); c.zrange(k[], 0, 1, by_score: true, by_lex: true)
      c.zrevrange(k[], 0, 0)
      c.zrevrange(k[], 0, 0, with_scores: true); c.zrangebyscore(k[], 1, "+inf", limit: [1, 1])
      c.zrangebyscore(k[], 1, 2, with_scores: true)
      c.zrevrangebyscore(k[], 3, 1, withscores: true, limit: [0, 2]); c.zrangebylex(k[], "-", "+", limit: [0, 1])
      c.zrangebylex(k[], "-", "+")
      c.zrevrangebylex(k[], "+", "-"); c.zrangestore(k["s"], k[], 0, 1)
      c.zrangestore(k["s"], k[], 1, 3, by_score: true, limit: [0, 1])
      c.zadd(k["o"], [[10, "b"], [20, "z"]]); c.zunion(k[], k["o"])
      c.zunion([k[], k["o"]], with_scores: true, weights: [1, 2], aggregate: "max")
      c.zinter(k[], k["o"], with_scores: true); c.zinter(k[], k["none"]); c.zdiff(k[], k["o"])
      c.zdiff(k[], k["o"], with_scores: true)
      c.zunionstore(k["d"], [k[], k["o"]], weights: [2, 1]); c.zinterstore(k["d"], [k[], k["o"]], aggregate: :min)
      c.zdiffstore(k["d"], [k[], k["o"]])
    end,
    "streams" => lambda do |c, k|
      c.xadd(k[], { f: 1, "g" => "x" }, id: "1-1"); c.xadd(k[], { f: 2 }, id: "2-1", maxlen: 10, approximate: true)
      c.xadd(k["none"], { f: 2 }, nomkstream: true); c.xlen(k[]); c.xrange(k[]); c.xrange(k[], "2", "+", count: 1)
      c.xrevrange(k[])
      c.xrevrange(k[], "1-1", "-", count: 5); c.xread(k[], "0"); c.xread([k[]], ["1-1"], count: 1); c.xread(k[], "9");
      c.xdel(k[], "1-1", "9-9")
      c.xtrim(k[], 0); c.xtrim(k[], "5-0", strategy: "MINID"); c.xadd(k["x"], { "a" => 1 }, id: "1-1")
      c.xinfo("stream", k["none"])
    end,
    "geo" => lambda do |c, k|
      c.geoadd(k[], 13.361389, 38.115556, "Palermo"); c.geoadd(k[], 15.087269, 37.502669, "Catania", 1, 1, "x")
      c.geohash(k[], "Palermo")
      c.geohash(k[], %w[Palermo none]); c.geodist(k[], "Palermo", "Catania")
      c.geodist(k[], "Palermo", "Catania", "km")
      c.geodist(k[], "Palermo", "none"); c.geopos(k[], "none"); c.georadius(k[], 15, 37, 200, "km")
      c.georadius(k[], 15, 37, 200, "km", sort: "DESC", count: 1)
      c.georadius(k[], 15, 37, 200, "km", options: :WITHDIST)
      c.georadiusbymember(k[], "Palermo", 200, "km", sort: "asc", options: :WITHHASH)
    end,
    "pfs" => lambda do |c, k|
      c.pfadd(k[], "a"); c.pfadd(k[], "a"); c.pfadd(k[], %w[b c]); c.pfcount(k[]); c.pfcount([k[], k["none"]])
      c.pfmerge(k["d"], k[], k["none"])
    end,
    "scripts" => lambda do |c, k|
      c.eval("return {KEYS[1], ARGV[1]}", [k[]], ["x"]); c.eval("return {KEYS[1], ARGV[1]}", keys: [k[]], argv: [1])
      c.eval("return {KEYS[1], ARGV[1]}", [k[]], argv: [1]); c.eval("return redis.error_reply('MINE no')", [k[]])
      c.evalsha("4e6d8fc8bb01276962cce5371fa795a7763657ae", [k[]]); c.eval("return 1", [k[]])
      c.evalsha("0" * 40, keys: [k[]])
    end,
    "errors" => lambda do |c, k|
      c.set(k[], "text"); c.lpush(k[], 1); c.incr(k[]); c.call("NO-SUCH-COMMAND", k[])
      c.append(k[], nil); c.zrange(k[], "x", 1)
    end
  }.freeze

  # Commands that wait, which a pipeline refuses, and commands that redis-cluster-client sends to a wrong node first, so
  # that those behind them in a pipeline run before them.
  ALONE = {
    "lists that wait" => lambda do |c, k|
      c.rpush(k[], %w[a b c d e]); c.blpop(k[]); c.brpop(k["none"], k[]); c.blpop([k["none"], k[]], timeout: 0.5)
      c.blpop(k["none"], timeout: 0.01); c.brpop(k["none"], timeout: 0.01); c.brpoplpush(k[], k["o"])
      c.brpoplpush(k["none"], k["o"], timeout: 0.01)
      c.blmove(k[], k["o"], "LEFT", "RIGHT"); c.blmove(k["none"], k["o"], "LEFT", "RIGHT", timeout: 0.01)
      c.blpop(k[], timeout: "1")
      c.zadd(k["z"], [[1, "a"], [2, "b"], [3, "c"]]); c.bzpopmin(k["z"]); c.bzpopmax(k["none"], k["z"], timeout: 1)
      c.bzpopmin(k["none"], timeout: 0.01); c.bzmpop(1, k["z"]); c.bzmpop(0.01, k["none"])
      c.xadd(k["x"], { "a" => 1 }, id: "1-1"); c.xread(k["x"], "9", block: 10)
    end,
    "consumer groups" => lambda do |c, k|
      c.xadd(k[], { f: 1 }, id: "1-1"); c.xadd(k[], { f: 2 }, id: "2-1"); c.xinfo(:groups, k[])
      c.xgroup(:create, k[], "g", "0"); c.xgroup(:create, k["m"], "g", "$", mkstream: true)
      c.xgroup(:createconsumer, k[], "g", "you")
      c.xreadgroup("g", "me", k[], ">", count: 1); c.xreadgroup("g", "me", [k[]], [">"], noack: true)
      c.xreadgroup("g", "me", k[], ">")
      c.xpending(k[], "g"); c.xpending(k["m"], "g"); c.xpending(k[], "g", "-", "+", 5, "none")
      c.xpending(k[], "g", "-")
      c.xclaim(k[], "g", "you", 0, "1-1"); c.xclaim(k[], "g", "you", 0, "1-1", justid: true, retrycount: 3)
      c.xclaim(k[], "g", "you", 0, ["9-9"])
      c.xautoclaim(k[], "g", "me", 0, "0"); c.xautoclaim(k[], "g", "me", 0, "0", count: 1, justid: true)
      c.xack(k[], "g", "1-1", "2-1")
      c.xgroup(:delconsumer, k[], "g", "you"); c.xgroup(:setid, k[], "g", "0"); c.xgroup(:destroy, k[], "g")
      c.move(k[], 1)
    end,
    "pops of several keys" => lambda do |c, k|
      c.rpush(k[], %w[m n o]); c.lmpop(k["none"], k[]); c.lmpop(k[], modifier: "RIGHT", count: 2); c.lmpop(k["none"])
      c.lmpop(k[], modifier: "UP"); c.zadd(k["z"], (1..9).map { |i| [i, "m#{i}"] })
      c.zmpop(k["z"]); c.zmpop(k["none"], k["z"], modifier: "MAX", count: 2); c.zmpop(k["none"])
      c.zmpop(k["z"], modifier: "MID")
    end
  }.freeze

  # Methods whose results name servers or times, or that concern all keys. A client only runs them, without a pipeline.
  CLIENT = {
    "server" => lambda do |c, k|
      c.ping; c.ping("hello"); c.echo("x"); c.script(:load, "return 7"); c.script(:exists, "0" * 40)
      c.script("exists", ["0" * 40])
      c.config(:get, "maxmemory"); c.config(:set, "maxmemory", "0"); c.publish(k["channel"], 1)
      c.spublish(k["channel"], 1); c.pubsub("numsub", k["channel"]); c.call("GET", k["none"]); c.debug("sleep", 0)
      c.select(1)
      c.with { |inner| inner.echo("inner") }; c.client(:getname); c.flushdb; c.flushall; c.flushdb(async: true)
      c.flushall(async: true)
      c.dbsize; c.randomkey; c.keys("none*"); c.scan_each(match: "none*") { |_| nil }
    end,
    "scans" => lambda do |c, k|
      c.hset(k["h"], "f", 1); c.sadd(k["s"], "m"); c.zadd(k["z"], 1.5, "m")
      c.hscan_each(k["h"]).to_a; c.sscan_each(k["s"], match: "*").to_a; c.zscan_each(k["z"], count: 5).to_a
      c.scan_each(match: "#{k[]}*").to_a.sort
    end,
    "multi" => lambda do |c, k|
      c.multi do |t|
        t.set(k[], 1); t.incr(k[]); t.zadd(k["z"], 1, "m"); t.zrange(k["z"], 0, -1, with_scores: true); t.hgetall(k["h"])
      end
      c.multi { |t| t.set(k[], "x"); t.incr(k[]) }
      c.pipelined { |p| p.set(k[], "x"); p.incr(k["n"]) }; c.pipelined { |_| nil }
      c.watch(k[]) { |w| w.multi { |t| t.set(k[], 2) } }
    end
  }.freeze

  # Calls whose results depend on the server and the time, of which the classes are compared.
  SHAPES = lambda do |c, k|
    c.cluster(:nodes); c.cluster("slots"); c.cluster(:info); c.cluster(:keyslot, k[]); c.info; c.info(:server); c.time
    c.info("commandstats"); c.client(:list); c.slowlog(:len); c.slowlog("get", 0); c.connected?; c.subscribed?
    c.script(:exists, "0" * 40); c.dbsize
    c.sadd(k["s"], %w[a b c]); c.srandmember(k["s"]); c.srandmember(k["s"], 2); c.spop(k["s"]); c.spop(k["s"], 2)
    c.scan(0, match: "none*", count: 10)
    c.geoadd(k["g"], 13, 38, "m"); c.georadius(k["g"], 13, 38, 9, "km", options: :WITHDIST)
  end
end
