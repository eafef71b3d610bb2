# frozen_string_literal: true

require_relative "support"
require_relative "gems"
HAS_CACHE_STORE = Gems::HAS_REDIS &&
                  Gems.load("logger", "active_support", "active_support/cache",
                            "active_support/cache/redis_cache_store", "active_support/core_ext/integer/time")
require "rediscluster/redis" if HAS_CACHE_STORE

# The cache store of Rails on a cluster.
class CacheStoreTest < ClusterTest
  def setup
    skip Gems::MISSING unless HAS_CACHE_STORE
    super
    @redis = RedisCluster::Redis.new(URL)
    @store = ActiveSupport::Cache::RedisCacheStore.new(redis: @redis, namespace: "ruby:cache")
    @store.clear
  end

  def teardown
    return unless @store

    @store.clear
    @redis.close
    super
  end

  def test_entries_are_written_read_and_deleted
    assert @store.write("a", { "x" => [1, nil] })
    assert_equal({ "x" => [1, nil] }, @store.read("a"))
    assert_nil @store.read("none")
    assert @store.exist?("a")
    assert_equal 2, @store.fetch("b") { 2 }
    assert_equal 2, @store.fetch("b") { flunk }
    refute @store.write("b", 3, unless_exist: true)
    assert @store.delete("a")
    refute @store.delete("a")
    assert_equal "gr\u00fc\u00df", @store.fetch("text", raw: true) { "gr\u00fc\u00df" }
    assert_equal 2, @store.fetch("b", force: true, race_condition_ttl: 5) { 2 }
  end

  def test_several_entries_of_all_slots
    entries = (1..50).to_h { |i| ["many:#{i}", i] }
    @store.write_multi(entries)
    assert_equal entries, @store.read_multi(*entries.keys, "none")
    assert_equal({ "many:1" => 1, "more" => "more!" }, @store.fetch_multi("many:1", "more") { |name| "#{name}!" })
    assert_equal 50, @store.delete_multi(entries.keys)
    @store.write_multi(entries, expires_in: 100)
    @store.delete_matched("many:*")
    assert_equal ["more"], @store.read_multi(*entries.keys, "more").keys
    @store.clear
    assert_nil @store.read("more")
  end

  def test_counters_and_expiry
    assert_equal 1, @store.increment("n")
    assert_equal 6, @store.increment("n", 5)
    assert_equal 4, @store.decrement("n", 2)
    assert_equal 1, @store.increment("limited", 1, expires_in: 5.minutes)
    assert_equal 2, @store.increment("limited", 1, expires_in: 5.minutes)
    assert_includes 1..300, @rc.ttl("ruby:cache:limited")
    @store.write("short", 1, expires_in: 0.05)
    eventually { @store.read("short").nil? }
    assert_includes @store.stats, "redis_version"
  end

  def test_pool_and_failures
    reported = []
    pooled = ActiveSupport::Cache::RedisCacheStore.new(redis: -> { RedisCluster::Redis.new(URL) }, pool: { size: 2 },
                                                       namespace: "ruby:cache")
    assert_equal 3, pooled.fetch("pooled") { 3 }
    nowhere = RedisCluster::Redis.new("redis://127.0.0.1:1", lazy: true, timeout_ms: 200)
    broken = ActiveSupport::Cache::RedisCacheStore.new(redis: nowhere, error_handler: ->(**event) { reported << event })
    assert_nil broken.read("a")
    assert_equal 1, broken.fetch("a") { 1 }
    assert_equal [Redis::CannotConnectError], reported.map { |event| event[:exception].class }.uniq
    assert_kind_of RedisCluster::CannotConnectError, reported.first[:exception].cause
  end

  def test_errors_are_those_of_redis_rb
    key = self.key
    @redis.set(key, "text")
    { Redis::WrongTypeError => -> { @redis.lpush(key, 1) }, Redis::CommandError => -> { @redis.call("NO-SUCH") },
      Redis::BaseError => -> { @redis.multi { |t| t.get("a"); t.get("b") } },
      Redis::ReadOnlyError => -> { @redis.readonly.set(key, 1) },
      Redis::CannotConnectError => lambda do
        RedisCluster::Redis.new("redis://127.0.0.1:1", timeout_ms: 200)
      end }.each do |kind, call|
      error = assert_raises(kind, &call)
      assert_kind_of RedisCluster::Error, error.cause
    end
    results = @redis.pipelined(exception: false) { |p| p.lpush(key, 1); p.get(key) }
    assert_equal [Redis::WrongTypeError, "text"], [results[0].class, results[1]]
    assert_raises(Redis::WrongTypeError) { @redis.pipelined { |p| p.lpush(key, 1) } }
    assert_equal [key], @redis.scan_each(match: key).to_a
  end
end
