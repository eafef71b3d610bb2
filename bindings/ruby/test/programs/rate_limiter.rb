# frozen_string_literal: true

# Three kinds of rate limiters: a fixed window, a sliding window and a bucket of tokens.
require "redis-clustering"

# At most `limit` calls in each window of so many seconds.
class FixedWindow
  def initialize(redis, limit:, seconds:)
    @redis = redis
    @limit = limit
    @seconds = seconds
  end

  def allow?(user, now)
    key = "program:limit:{#{user}}:#{now.to_i / @seconds}"
    count, = @redis.multi do |transaction|
      transaction.incr(key)
      transaction.expire(key, @seconds * 2)
    end
    count <= @limit
  end
end

# At most `limit` calls in any period of so many seconds.
class SlidingWindow
  def initialize(redis, limit:, seconds:)
    @redis = redis
    @limit = limit
    @seconds = seconds
  end

  def allow?(user, now)
    key = "program:slide:{#{user}}"
    _, count, = @redis.multi do |transaction|
      transaction.zremrangebyscore(key, "-inf", now - @seconds)
      transaction.zcard(key)
      transaction.pexpire(key, @seconds * 1_000)
    end
    return false if count >= @limit

    @redis.zadd(key, now, "#{now}:#{count}", nx: true)
  end

  def oldest(user)
    @redis.zrange("program:slide:{#{user}}", 0, 0, with_scores: true).first
  end
end

# A bucket of tokens, filled with some tokens a second, in one script.
class TokenBucket
  SCRIPT = <<~LUA
    local state = redis.call("HMGET", KEYS[1], "tokens", "time")
    local capacity, rate, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
    local tokens = tonumber(state[1]) or capacity
    tokens = math.min(capacity, tokens + (now - (tonumber(state[2]) or now)) * rate)
    local allowed = tokens >= 1
    if allowed then tokens = tokens - 1 end
    redis.call("HSET", KEYS[1], "tokens", tostring(tokens), "time", ARGV[3])
    redis.call("EXPIRE", KEYS[1], 60)
    return { allowed and 1 or 0, tostring(tokens) }
  LUA

  def initialize(redis, capacity:, rate:)
    @redis = redis
    @capacity = capacity
    @rate = rate
    @sha = redis.script(:load, SCRIPT)
  end

  def take(user, now)
    arguments = { keys: ["program:bucket:{#{user}}"], argv: [@capacity, @rate, now] }
    allowed, tokens = begin
      @redis.evalsha(@sha, **arguments)
    rescue Redis::CommandError => e
      raise unless e.message.include?("NOSCRIPT")

      @redis.eval(SCRIPT, **arguments)
    end
    [allowed == 1, Float(tokens)]
  end
end

redis = Redis::Cluster.new(nodes: ARGV)
%w[limit:{a}:16 limit:{a}:17 slide:{a} bucket:{a}].each { |key| redis.del("program:#{key}") }
fixed = FixedWindow.new(redis, limit: 2, seconds: 60)
puts [1000.0, 1001.0, 1002.0, 1030.0].map { |now| fixed.allow?("a", now) }.inspect
sliding = SlidingWindow.new(redis, limit: 2, seconds: 10)
puts [1.0, 5.5, 9.0, 12.0, 12.5].map { |now| sliding.allow?("a", now) }.inspect
puts sliding.oldest("a").inspect
bucket = TokenBucket.new(redis, capacity: 2, rate: 0.5)
puts [100, 100, 100, 101, 102].map { |now| bucket.take("a", now) }.inspect
redis.script(:flush)
puts bucket.take("a", 104).inspect
puts redis.hmget("program:bucket:{a}", "tokens", "none").inspect
