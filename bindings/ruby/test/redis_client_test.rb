# frozen_string_literal: true

require_relative "support"
require_relative "gems"
require "rediscluster/redis_client" if Gems::HAS_REDIS

# RedisCluster::Client has the interface, the results and the errors of redis-client.
class RedisClientTest < ClusterTest
  SINGLE = ENV.fetch("RDC_SINGLE_URL")

  def setup
    skip Gems::MISSING unless Gems::HAS_REDIS
    super
    @theirs = RedisClient.new(url: SINGLE, db: 7)
    @ours = RedisCluster::Client.new(url: SINGLE, db: 7)
  end

  def teardown
    return unless @ours

    @theirs.call("FLUSHDB")
    [@theirs, @ours].each(&:close)
    super
  end

  CALLS = {
    "call" => lambda do |c|
      [c.call("SET", "k", "v", ex: 5), c.call("SET", "k", "w", nx: true, get: false), c.call("TTL", "k"),
       c.call("get", :k),
       c.call("HSET", "h", { a: 1, "b" => 2.5 }), c.call("HGETALL", "h"), c.call("LPUSH", "l", [1, 2], 3),
       c.call("ZADD", "z", 1.5, "m"), c.call("ZSCORE", "z", "m"), c.call("ZRANGE", "z", 0, -1, "WITHSCORES"),
       c.call("SISMEMBER", "s", 1), c.call("GET", "none"), c.call_v(["INCR", "n"]), c.call_once("INCR", "n"),
       c.call_once_v(["INCR", "n"]), c.call("INCR", "n") { |n| n * 2 }, c.call_v(["INCR", "n"]) { |n| n * 2 },
       c.blocking_call(1, "BLPOP", "none", 0.01), c.blocking_call_v(1, ["BLPOP", "l", 1]), c.call("SMEMBERS", "none")]
    end,
    "pipelined" => lambda do |c|
      [c.pipelined { |p| p.call("SET", "k", 1); p.call_v(["INCR", "k"]) { |n| n * 10 }; p.call_once("GET", "k") },
       c.pipelined { |_| nil }, c.pipelined(exception: false) { |p| p.call("SET", "k", "a"); p.call("GET", "k") }]
    end,
    "multi" => lambda do |c|
      [c.multi { |t| t.call("SET", "k", 1); t.call("INCR", "k") { |n| n * 10 } }, c.multi { |_| nil },
       c.multi(watch: ["k"]) { |t| t.call("SET", "k", c.call("GET", "k").to_i + 1) },
       c.multi(watch: ["k"]) { |_| nil }, c.call("GET", "k")]
    end,
    "scans" => lambda do |c|
      c.call("MSET", "scan:a", 1, "scan:b", 2)
      c.call("HSET", "scanned", "f", 1, "g", 2)
      c.call("SADD", "set", "m")
      c.call("ZADD", "zset", 1.5, "m")
      found = []
      c.scan("MATCH", "scan:*", count: 10) { |key| found << key }
      c.hscan("scanned") { |field, value| found << [field, value] }
      c.zscan("zset", match: "*") { |member, score| found << [member, score] }
      found.sort_by(&:to_s) + c.sscan("set").to_a + c.hscan("scanned").to_a + c.scan(match: "none*").to_a
    end,
    "attributes" => lambda do |c|
      [c.server_url, c.db, c.host, c.port, c.path, c.username, c.password, c.timeout, c.read_timeout, c.connect_timeout,
       c.size, c.id, c.with { |same| same.equal?(c) }, c.then { |same| same.call("PING") }, c.connected? ? true : false,
       c.close.equal?(c), c.connected? ? true : false, c.call("PING"), c.measure_round_trip_delay.class]
    end
  }.freeze

  CALLS.each do |name, calls|
    define_method("test_#{name}_equals_redis_client") do
      theirs = calls.call(@theirs)
      @theirs.call("FLUSHDB")
      assert_equal theirs, calls.call(@ours)
    end
  end

  def test_errors_are_those_of_redis_client
    { "INCR k" => %w[INCR k], "WRONGTYPE" => %w[LPUSH k 1], "unknown" => %w[NO-SUCH k] }.each do |name, command|
      errors = [@theirs, @ours].map do |client|
        client.call("SET", "k", "text")
        assert_raises(RedisClient::CommandError, name) { client.call(*command) }
      end
      assert_equal errors[0].class, errors[1].class, name
      assert_equal errors[0].message.split.first, errors[1].message.split.first
      assert_kind_of RedisCluster::CommandError, errors[1].cause
    end
    [@theirs, @ours].each do |client|
      assert_raises(RedisClient::WrongTypeError) { client.pipelined { |p| p.call("LPUSH", "k", 1) } }
      assert_raises(RedisClient::CommandError) { client.multi { |t| t.call("INCR", "k") } }
      results = client.pipelined(exception: false) { |p| p.call("LPUSH", "k", 1); p.call("GET", "k") }
      assert_equal [RedisClient::WrongTypeError, "text"], [results[0].class, results[1]]
      assert_raises(TypeError) { client.call("GET", nil) }
    end
    nowhere = RedisCluster::Client.new(url: "redis://127.0.0.1:1", timeout: 0.2, custom: { timeout_ms: 300 })
    error = assert_raises(RedisClient::CannotConnectError) { nowhere.call("PING") }
    refute error.cause.sent?
    assert_raises(RedisClient::Error) { @ours.call("SUBSCRIBE", "x") }
  end

  def test_all_methods_of_redis_client_are_there
    methods = ->(a_class) { a_class.public_instance_methods - Object.public_instance_methods }
    # Of redis-cluster-client, and of the object that keeps the middlewares.
    missing = methods[RedisClient] - methods[RedisCluster::Client] - %i[ensure_connected_cluster_scoped middlewares]
    assert_equal [], missing
    assert_equal [], methods[RedisClient::Pipeline].grep_v(/\A_/) - methods[RedisCluster::Client::CommandList]
    assert_equal [], methods[RedisClient::PubSub] - methods[RedisCluster::PubSub]
  end

  def test_watched_key_that_was_changed_runs_nothing
    result = @ours.multi(watch: ["k"]) do |t|
      @theirs.call("SET", "k", "theirs")
      t.call("SET", "k", "mine")
    end
    assert_nil result
    assert_equal "theirs", @ours.call("GET", "k")
  end

  def test_timeouts_and_middlewares_of_the_configuration_hold
    seen = []
    middleware = Module.new do
      define_method(:call) { |command, config, &block| seen << command; super(command, config, &block) }
      define_method(:call_pipelined) { |list, config, &block| seen.concat(list); super(list, config, &block) }
    end
    client = RedisCluster::Client.config(url: SINGLE, timeout: 0.2, middlewares: [middleware]).new_client(id: "me")
    assert_equal "me", client.call("CLIENT", "GETNAME")
    client.pipelined { |p| p.call("PING") }
    assert_equal [%w[CLIENT GETNAME], %w[PING]], seen
    client.timeout = 0.15
    started = now
    assert_raises(RedisClient::TimeoutError) { client.call("EVAL", "for i = 1, 1e8 do end", 0) }
    assert_operator now - started, :<, 0.8
  ensure
    eventually { @theirs.call("PING") rescue nil } # rubocop:disable Style/RescueModifier
    client&.close
  end

  def test_client_of_a_cluster_in_a_pool
    pool = RedisCluster::Client.config(custom: { nodes: ENV.fetch("RDC_SEEDS").split(",") }).new_pool(size: 2)
    assert_equal "OK", pool.call("MSET", "{ruby:pool}a", 1, "{ruby:pool}b", 2)
    keys = %w[{ruby:pool}a {ruby:pool}b]
    assert_equal(%w[1 2], pool.with { |client| client.pipelined { |p| keys.each { |key| p.call("GET", key) } } })
    pubsub = pool.with(&:pubsub)
    pubsub.call_v(%w[SUBSCRIBE ruby:pool])
    assert_equal ["subscribe", "ruby:pool", 1], pubsub.next_event(5)
  ensure
    pubsub&.close
    pool&.close
  end
end
