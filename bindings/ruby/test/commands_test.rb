# frozen_string_literal: true

require_relative "support"

# Commands return the results of redis-rb.
class CommandsTest < ClusterTest
  def test_string_commands
    k = key
    assert_equal "OK", @rc.set(k, "v")
    assert_equal "v", @rc.get(k)
    assert_equal false, @rc.set(k, "w", nx: true)
    assert_equal true, @rc.set(k, "w", xx: true, ex: 100)
    assert_includes 1..100, @rc.ttl(k)
    assert_equal "OK", @rc.set(k, "x", px: 50_000)
    assert_includes 1..50_000, @rc.pttl(k)
    assert_equal "x", @rc.set(k, "y", get: true)
    assert_equal "y", @rc.getex(k, persist: true)
    assert_equal "y", @rc.getset(k, 1)
    assert_equal 2, @rc.incr(k)
    assert_equal 12, @rc.incrby(k, 10)
    assert_in_delta 12.5, @rc.incrbyfloat(k, 0.5)
    assert_equal 5, @rc.append(k, "!")
    assert_equal "12", @rc.getrange(k, 0, 1)
    assert_equal "12.5!", @rc.getdel(k)
    assert_nil @rc.get(k)
    assert_equal true, @rc.setnx(k, "v")
    assert_equal false, @rc.setnx(k, "v")
  end

  def test_key_commands
    k = key
    assert_equal 0, @rc.exists(k)
    assert_equal false, @rc.exists?(k)
    assert_equal false, @rc.expire(k, 10)
    @rc.set(k, 1)
    assert_equal true, @rc.exists?(k)
    assert_equal true, @rc.expire(k, 10)
    assert_equal true, @rc.persist(k)
    assert_equal(-1, @rc.ttl(k))
    assert_equal "string", @rc.type(k)
    assert_equal 1, @rc.del(k)
    assert_equal 0, @rc.del([k])
  end

  def test_multi_key_commands
    a, b, c = %w[{x}a {x}b {x}c].map { |suffix| key(suffix) }
    assert_equal "OK", @rc.mset(a, 1, b, 2)
    assert_equal ["1", "2", nil], @rc.mget(a, b, c)
    assert_equal ["1", nil], @rc.mget([a, c])
    assert_equal "OK", @rc.mset(**{ a => 1, b => 2 })
    assert_equal false, @rc.msetnx(**{ b => 1, c => 1 })
    assert_equal "OK", @rc.mapped_mset(a => 3, b => 4)
    assert_equal({ a => "3", c => nil }, @rc.mapped_mget(a, c))
    assert_equal false, @rc.msetnx(b, 1, c, 1)
    assert_equal 2, @rc.del(a, b, c)
  end

  def test_hash_commands
    k = key
    assert_equal({}, @rc.hgetall(k))
    assert_equal 2, @rc.hset(k, "f", 1, "g", 2)
    assert_equal 1, @rc.hset(k, { f: 3, h: 4 })
    assert_equal 0, @rc.hset(k, f: 3, "h" => 4)
    assert_equal "OK", @rc.hmset(k, f: 3, h: 4)
    assert_equal [0], @rc.pipelined { |p| p.hset(k, f: 3, h: 4) }
    assert_equal({ "f" => "3", "g" => "2", "h" => "4" }, @rc.hgetall(k))
    assert_equal true, @rc.hexists(k, "f")
    assert_equal false, @rc.hsetnx(k, "f", 1)
    assert_equal ["3", nil], @rc.hmget(k, "f", "none")
    assert_equal({ "f" => "3", "none" => nil }, @rc.mapped_hmget(k, "f", "none"))
    assert_equal 4, @rc.hincrby(k, "f", 1)
    assert_in_delta 4.5, @rc.hincrbyfloat(k, "f", 0.5)
    assert_equal ["0", [["f", "4.5"], ["g", "2"], ["h", "4"]]], @rc.hscan(k, 0, match: "*", count: 10)
    assert_equal 3, @rc.hdel(k, "f", %w[g h])
  end

  def test_list_commands
    k = key
    assert_equal 3, @rc.rpush(k, %w[a b c])
    assert_equal %w[a b c], @rc.lrange(k, 0, -1)
    assert_equal "a", @rc.lpop(k)
    assert_equal %w[b c], @rc.lpop(k, 2)
    assert_nil @rc.lpop(k)
    assert_equal 1, @rc.lpush(k, "z")
    assert_equal [k, "z"], @rc.blpop(k, timeout: 1)
    started = now
    assert_nil @rc.blpop(k, timeout: 0.1)
    assert_operator now - started, :>=, 0.1
  end

  def test_blmpop_waits_for_its_timeout
    k = key
    @rc.rpush(k, %w[a b c])
    assert_equal [k, %w[c b]], @rc.blmpop(1, k, modifier: "RIGHT", count: 2)
    assert_equal [k, ["a"]], @rc.blmpop(1, k)
    started = now
    assert_nil @rc.blmpop(0.1, k)
    assert_operator now - started, :>=, 0.1
  end

  def test_functions_and_call_forms
    k = key
    library = "#!lua name=ruby_test\n" \
              "redis.register_function('ruby_echo', function(keys, args) return {keys[1], args[1]} end)"
    assert_equal "ruby_test", @rc.function("LOAD", "REPLACE", library)
    assert_equal [k, "1"], @rc.fcall("ruby_echo", [k], [1])
    assert_equal [k, "2"], @rc.fcall("ruby_echo", keys: [k], argv: [2])
    assert_equal "OK", @rc.call_v(["SET", k, 1, { ex: 5 }])
    assert_equal 3, @rc.call("GET", k) { |text| text.to_i + 2 }
    assert_equal 4, @rc.call_v(["INCR", k]) { |count| count * 2 }
    assert_equal "OK", @rc.call_once("SET", k, 1, ex: 5)
    assert_equal "1", @rc.call_once_v(["GET", k])
    assert_nil @rc.blocking_call(1, "BLPOP", key("l"), 0.01)
    assert_equal 1, (@rc.blocking_call_v(1, ["RPUSH", "#{k}l", 1]) { |count| count })
    assert_equal [2, "1"], @rc.pipelined { |p| p.call_v(["INCR", k]) { |n| n }; p.call_once("LPOP", "#{k}l") }
  ensure
    @rc.function("DELETE", "ruby_test")
  end

  def test_methods_of_other_commands
    a, b = %w[{g}a {g}b].map { |suffix| key(suffix) }
    @rc.mset(a, "ohmytext", b, "mynewtext")
    assert_equal "mytext", @rc.lcs(a, b)
    assert_equal 6, @rc.lcs(a, b, len: true)
    assert_equal ["6"], @rc.pipelined { |p| p.lcs(a, b, "LEN") }.map(&:to_s)
    @rc.del(a, b)
    @rc.sadd(a, %w[x y z])
    @rc.sadd(b, %w[y z])
    assert_equal 2, @rc.sintercard([a, b])
    assert_equal 1, @rc.sintercard([a, b], limit: 1)
    assert_equal %w[x y z], @rc.sort_ro(a, "ALPHA")
    error = assert_raises(RedisCluster::CommandError) { @rc.json_get(a, "$") }
    assert_match(/unknown command/, error.message)
  end

  def test_set_commands
    k = key
    assert_equal 2, @rc.sadd(k, %w[a b])
    assert_equal true, @rc.sadd?(k, "c")
    assert_equal false, @rc.sadd?(k, "c")
    assert_equal true, @rc.srem?(k, "c")
    assert_equal %w[a b], @rc.smembers(k).sort
    assert_equal true, @rc.sismember(k, "a")
    assert_equal [true, false], @rc.smismember(k, "a", "x")
    assert_equal 2, @rc.scard(k)
  end

  def test_sorted_set_commands
    k = key
    assert_equal true, @rc.zadd(k, 1, "a")
    assert_equal false, @rc.zadd(k, 1.5, "a")
    assert_equal 2, @rc.zadd(k, [[2, "b"], [Float::INFINITY, "c"]])
    assert_equal false, @rc.zadd(k, 9, "a", nx: true)
    assert_equal 1, @rc.zadd(k, [[3, "b"]], ch: true)
    assert_in_delta 2.5, @rc.zadd(k, 1, "a", incr: true)
    assert_in_delta 3.0, @rc.zincrby(k, 0.5, "a")
    assert_equal Float::INFINITY, @rc.zscore(k, "c")
    assert_nil @rc.zscore(k, "none")
    assert_equal [3.0, nil], @rc.zmscore(k, "a", "none")
    assert_equal %w[a b c], @rc.zrange(k, 0, -1)
    assert_equal [["a", 3.0], ["b", 3.0]], @rc.zrange(k, 0, 1, with_scores: true)
    assert_equal [["c", Float::INFINITY]], @rc.zrevrange(k, 0, 0, withscores: true)
    assert_equal [["b", 3.0]], @rc.zrangebyscore(k, 3, "+inf", with_scores: true, limit: [1, 1])
    assert_equal %w[c b a], @rc.zrange(k, "+inf", 0, by_score: true, rev: true)
    assert_equal 1, @rc.zrank(k, "b")
    assert_equal ["0", [["a", 3.0], ["b", 3.0], ["c", Float::INFINITY]]], @rc.zscan(k, 0)
    assert_equal ["a", 3.0], @rc.zpopmin(k)
    assert_equal [["c", Float::INFINITY], ["b", 3.0]], @rc.zpopmax(k, 2)
    assert_nil @rc.zpopmin(k)
    @rc.zadd(k, 1, "a")
    assert_equal true, @rc.zrem(k, "a")
    assert_equal 0, @rc.zrem(k, %w[a b])
  end

  def test_resp2_gives_same_results
    old = RedisCluster.new(URL, protocol: 2)
    k = key
    @rc.zadd(k, [[1, "a"], ["inf", "b"]])
    assert_equal [["a", 1.0], ["b", Float::INFINITY]], old.zrange(k, 0, -1, with_scores: true)
    assert_equal Float::INFINITY, old.zscore(k, "b")
    assert_equal ["a", 1.0], old.zpopmin(k)
    assert_equal [["b", Float::INFINITY]], old.zpopmax(k, 2)
    h = key("h")
    @rc.hset(h, "f", 1)
    assert_equal({ "f" => "1" }, old.hgetall(h))
    assert_equal [{ "f" => "1" }], old.pipelined { |p| p.hgetall(h) }
  ensure
    old&.close
  end

  def test_stream_script_and_server_commands
    k = key
    id = @rc.xadd(k, { "f" => 1 }, maxlen: 10, approximate: true)
    assert_equal [[id, { "f" => "1" }]], @rc.xrange(k, "-", "+")
    assert_equal "1-1", @rc.xadd(key("id"), { f: 1 }, id: "1-1")
    assert_equal [k, "arg"], @rc.eval("return {KEYS[1], ARGV[1]}", keys: [k], argv: ["arg"])
    assert_equal k, @rc.eval("return KEYS[1]", [k])
    assert_equal true, @rc.pfadd(key("pf"), "a")
    assert_equal "PONG", @rc.ping
    assert_kind_of Integer, @rc.dbsize
  end

  def test_call_runs_any_command
    k = key
    assert_equal 2, @rc.call("HSET", k, { a: 1, "b" => 2.5 })
    assert_equal({ "a" => "1", "b" => "2.5" }, @rc.call(:hgetall, k))
    assert_equal "OK", @rc.call("SET", k, "v", ex: 100, nx: false, keepttl: nil)
    assert_includes 1..100, @rc.ttl(k)
    sizes = @rc.call_to("primaries", "DBSIZE")
    assert_equal @rc.dbsize, sizes.values.sum
    assert_equal "v", @rc.call_to("key:#{k}", "GET", k)
    # Types of RESP3 that only scripts and DEBUG return.
    assert_equal 2**100, @rc.eval("redis.setresp(3); return {big_number='#{2**100}'}")
    assert_equal "text", @rc.eval("redis.setresp(3); return {verbatim_string={format='txt', string='text'}}")
    assert_equal true, @rc.eval("redis.setresp(3); return true")
    assert_equal({ "a" => [1, [false]] }, @rc.eval("redis.setresp(3); return {map={a={1, {false}}}}"))
    assert_in_delta 0.5, @rc.eval("redis.setresp(3); return {double=0.5}")
  end

  def test_text_is_utf8_and_bytes_are_preserved
    k = key
    @rc.set(k, "gr\u00fc\u00df dich")
    assert_equal "gr\u00fc\u00df dich", @rc.get(k)
    assert_equal Encoding::UTF_8, @rc.get(k).encoding
    bytes = (0..255).map(&:chr).join.b
    @rc.set(k, bytes)
    assert_equal bytes, @rc.get(k), "binary, because it is not UTF-8"
    @rc.set(k, "")
    assert_equal "", @rc.get(k)
    @rc.set("#{k}\u00fc", "key")
    assert_equal ["key"], @rc.mget("#{k}\u00fc")
    @rc.rpush(key("l"), ["\u00fc", "", "\xff".b])
    assert_equal ["\u00fc", "", "\xff".b], @rc.lrange("#{@name}l", 0, -1)
    @rc.set(k, "wide".encode(Encoding::UTF_16LE))
    assert_equal "wide".encode(Encoding::UTF_16LE).b, @rc.get(k).b
  end

  def test_long_list_is_read_in_chunks
    k = key
    values = Array.new(2_500) { |i| "value #{i}" }
    @rc.rpush(k, values)
    assert_equal values, @rc.lrange(k, 0, -1)
    assert_equal [], @rc.lrange(k, 5_000, -1)
  end

  def test_wrong_argument_type_raises_type_error
    [nil, Object.new, true].each do |argument|
      error = assert_raises(TypeError) { @rc.append("k", argument) }
      assert_match(/is of type (NilClass|Object|TrueClass);/, error.message)
    end
    assert_raises(ArgumentError) { @rc.call }
    # The pipeline contains no part of the failed command.
    results = @rc.pipelined do |p|
      assert_raises(TypeError) { p.append("k", nil) }
      p.echo("alone")
    end
    assert_equal ["alone"], results
  end

  def test_scans_find_every_element
    keys = Array.new(100) { |i| key(":scan:#{i}").tap { |k| @rc.set(k, i) } }
    assert_equal keys.sort, @rc.scan_each(match: "#{@name}:scan:*", count: 7).to_a.uniq.sort
    seen = []
    assert_nil(@rc.scan_each(match: "#{@name}:scan:*") { |k| seen << k })
    assert_equal keys.sort, seen.uniq.sort
    assert_equal [], @rc.scan_each(match: "#{@name}:scan:*", type: "list").to_a
    assert_equal 3, @rc.scan_each(match: "#{@name}:scan:*").lazy.first(3).length
    cursor, some = @rc.scan(0, count: 5)
    assert_kind_of String, cursor
    assert_kind_of Array, some
    k = key(":elements")
    @rc.hset(k, (1..300).to_h { |i| ["f#{i}", i] })
    assert_equal (1..300).to_h { |i| ["f#{i}", i.to_s] }, @rc.hscan_each(k, count: 10).to_h
    @rc.del(k)
    @rc.sadd(k, (1..300).to_a)
    assert_equal (1..300).map(&:to_s).sort, @rc.sscan_each(k, match: "*", count: 10).to_a.uniq.sort
    @rc.del(k)
    @rc.zadd(k, (1..300).map { |i| [i, "m#{i}"] })
    assert_equal (1..300).to_h { |i| ["m#{i}", i.to_f] }, @rc.zscan_each(k).to_h
  end

  def test_sort_and_store_commands
    a, b, c = %w[{s}a {s}b {s}c].map { |suffix| key(suffix) }
    @rc.rpush(a, [3, 1, 2])
    assert_equal %w[1 2 3], @rc.sort(a)
    assert_equal %w[3 2], @rc.sort(a, order: "DESC", limit: [0, 2])
    assert_equal 3, @rc.sort(a, store: c)
    @rc.del(a, c)
    @rc.zadd(a, [[1, "x"], [2, "y"]])
    @rc.zadd(b, [[10, "y"]])
    assert_equal 2, @rc.zunionstore(c, [a, b], weights: [2, 1])
    assert_equal [["x", 2.0], ["y", 14.0]], @rc.zrange(c, 0, -1, with_scores: true)
    assert_equal 1, @rc.zinterstore(c, [a, b], aggregate: "max")
    assert_equal [["y", 10.0]], @rc.zrange(c, 0, -1, with_scores: true)
  end

  def test_stream_read_commands
    k = key
    assert_equal({}, @rc.xread(k, "0"))
    id = @rc.xadd(k, { "f" => "v" })
    assert_equal({ k => [[id, { "f" => "v" }]] }, @rc.xread(k, "0", count: 10))
    assert_equal({ k => [[id, { "f" => "v" }]] }, @rc.xread([k], ["0"], block: 10))
    @rc.xgroup(:create, k, "g", "0")
    assert_equal({ k => [[id, { "f" => "v" }]] }, @rc.xreadgroup("g", "me", k, ">", noack: true))
    assert_equal({}, @rc.xreadgroup("g", "me", [k], [">"]))
  end

  def test_server_commands
    assert_equal 2, @rc.time.length
    assert_kind_of Integer, @rc.time.first
    info = @rc.info("server")
    assert_includes @rc.topology.map { |shard| shard["primary"]["address"][/\d+\z/] }, info["tcp_port"]
    refute_includes info, "role"
    k = key
    @rc.set(k, 1)
    assert_includes @rc.keys, k
    assert_equal [k], @rc.keys("#{k}*")
    assert_equal "PONG", @rc.readonly(&:ping)
  end

  # A double that is no number, and aggregates as members and keys, which Ruby can hash.
  def test_unusual_resp3_replies_are_converted
    assert_predicate @rc.call("EVAL", "redis.setresp(3); return {double=0/0}", 0), :nan?
    assert_equal [{ "a" => 1 }], @rc.call("EVAL", "redis.setresp(3); return {set={[{map={a=1}}]=true}}", 0)
    assert_equal({ [1, 2] => 3 }, @rc.call("EVAL", "redis.setresp(3); return {map={[{1, 2}]=3}}", 0))
    assert_predicate RedisCluster::Commands::FLOAT.call("nan"), :nan?
  end
end
