# frozen_string_literal: true

# A queue of work that loses no job when a worker dies: lists, a stream with a consumer group, and delayed jobs.
require "json"
require "redis-clustering"

# Jobs in a list. A worker keeps its job in a list of its own until it is done.
class ReliableQueue
  def initialize(redis, name)
    @redis = redis
    @queue = "program:{#{name}}:queue"
    @delayed = "program:{#{name}}:delayed"
    @working = "program:{#{name}}:working"
    @redis.del(@queue, @delayed, @working)
  end

  def push(job, at: nil)
    text = JSON.generate(job)
    at ? @redis.zadd(@delayed, at, text) : @redis.lpush(@queue, text)
  end

  # Moves the delayed jobs that are due. Another worker may move them at the same time.
  def move_due(now)
    due = @redis.zrangebyscore(@delayed, "-inf", now, limit: [0, 100])
    due.count { |text| @redis.zrem(@delayed, text) && @redis.lpush(@queue, text) }
  end

  def work(timeout: 0.05)
    text = @redis.blmove(@queue, @working, "RIGHT", "LEFT", timeout: timeout)
    return unless text

    yield JSON.parse(text)
    @redis.lrem(@working, 1, text)
    text
  end

  # Puts the jobs of dead workers back.
  def recover
    count = 0
    count += 1 while @redis.rpoplpush(@working, @queue)
    count
  end

  def lengths
    @redis.pipelined do |pipeline|
      pipeline.llen(@queue)
      pipeline.zcard(@delayed)
      pipeline.llen(@working)
    end
  end
end

# Jobs in a stream, with several workers.
class StreamQueue
  def initialize(redis, key, group)
    @redis = redis
    @key = key
    @group = group
    @redis.del(key)
    @redis.xgroup(:create, key, group, "$", mkstream: true)
  end

  def push(fields, id: "*")
    @redis.xadd(@key, fields, id: id, maxlen: 1_000, approximate: true)
  end

  def work(consumer, count: 10)
    entries = @redis.xreadgroup(@group, consumer, @key, ">", count: count).fetch(@key, [])
    entries.each { |id, fields| yield(id, fields) && @redis.xack(@key, @group, id) }
    entries.length
  end

  def pending
    @redis.xpending(@key, @group)
  end

  def take_over(consumer)
    @redis.xautoclaim(@key, @group, consumer, 0, "0-0")["entries"].to_h
  end
end

redis = Redis::Cluster.new(nodes: ARGV)
queue = ReliableQueue.new(redis, "mail")
3.times { |i| queue.push({ "to" => "user#{i}" }) }
queue.push({ "to" => "later" }, at: 100)
puts queue.lengths.inspect
queue.work { |job| puts job }
begin
  queue.work { |_| raise IOError, "the worker died" }
rescue IOError => e
  puts e.message, queue.lengths.inspect
end
puts queue.recover, queue.move_due(99), queue.move_due(100)
seen = []
nil while queue.work { |job| seen << job["to"] }
puts seen.sort.inspect, queue.lengths.inspect

stream = StreamQueue.new(redis, "program:stream", "workers")
puts stream.push({ "n" => 1 }, id: "1-1"), stream.push({ n: 2 }, id: "2-1")
puts(stream.work("first") { |id, fields| puts "#{id} #{fields}"; id == "1-1" })
puts stream.pending.inspect
puts stream.take_over("second").inspect
puts redis.xlen("program:stream"), redis.xrange("program:stream", "-", "+", count: 1).inspect
