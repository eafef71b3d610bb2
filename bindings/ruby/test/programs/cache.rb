# frozen_string_literal: true

# A cache of computed values, with expiry, tags and protection against many computations of one value.
require "json"
require "redis-clustering"

# Reads through to a block.
class Cache
  Stats = Struct.new(:hits, :misses)

  attr_reader :stats

  def initialize(redis, namespace, ttl: 60)
    @redis = redis
    @namespace = namespace
    @ttl = ttl
    @stats = Stats.new(0, 0)
  end

  def fetch(name, ttl: @ttl, tags: [])
    found = @redis.get(key(name))
    if found
      @stats.hits += 1
      return JSON.parse(found)
    end
    @stats.misses += 1
    compute(name, ttl, tags) { yield }
  end

  def fetch_multi(*names)
    found = @redis.mapped_mget(*names.map { |name| key(name) })
    missing = names.select { |name| found[key(name)].nil? }
    computed = missing.to_h { |name| [name, yield(name)] }
    @redis.pipelined do |pipeline|
      computed.each { |name, value| pipeline.set(key(name), JSON.generate(value), ex: @ttl) }
    end
    names.to_h { |name| [name, computed.fetch(name) { JSON.parse(found[key(name)]) }] }
  end

  def invalidate_tag(tag)
    names = @redis.smembers(tag_key(tag))
    return 0 if names.empty?

    @redis.del(names.map { |name| key(name) }).tap { @redis.del(tag_key(tag)) }
  end

  def clear
    @redis.scan_each(match: "#{@namespace}:*", count: 100) { |key| @redis.unlink(key) }
  end

  def remaining(name)
    @redis.ttl(key(name))
  end

  private

  def compute(name, ttl, tags)
    lock = "#{key(name)}:lock"
    return yield unless @redis.set(lock, "1", nx: true, px: 5_000)

    value = yield
    @redis.setex(key(name), ttl, JSON.generate(value))
    tags.each { |tag| @redis.sadd?(tag_key(tag), name) }
    @redis.del(lock)
    value
  end

  def key(name)
    "#{@namespace}:#{name}"
  end

  def tag_key(tag)
    "#{@namespace}:tag:#{tag}"
  end
end

redis = Redis::Cluster.new(nodes: ARGV)
cache = Cache.new(redis, "program:cache")
cache.clear
puts cache.fetch("a", tags: %w[odd]) { { "n" => 1 } }.inspect
puts cache.fetch("a") { raise "not computed again" }.inspect
cache.fetch("c", ttl: 10, tags: %w[odd]) { [3, nil, "gr\u00fc\u00df"] }
puts cache.fetch_multi("a", "b", "c") { |name| name * 2 }.inspect
puts cache.remaining("c").between?(1, 10), cache.remaining("a").between?(11, 60), cache.remaining("none")
puts cache.invalidate_tag("odd"), cache.invalidate_tag("odd")
puts cache.fetch("a") { "new" }
puts cache.stats.to_a.inspect
cache.clear
puts redis.exists("program:cache:a"), redis.exists?("program:cache:b")
redis.close
