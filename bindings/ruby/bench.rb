# frozen_string_literal: true

# rediscluster beside redis-rb in its cluster mode (apt-get install ruby-redis), in a cluster that RDC_URL and RDC_SEEDS name:
#
#     cargo run -q -p support --bin cluster -- run -- ruby -Ilib bench.rb
#
# The two take turns, so that a busy machine is busy for both, and the median of the ratios counts.

require "rediscluster"
require "redis"

ROUNDS = 15
VALUE = "x" * 32

ours = RedisCluster.new(ENV.fetch("RDC_URL"))
theirs = Redis.new(cluster: ENV.fetch("RDC_SEEDS").split(",").map { |node| "redis://#{node}" })

keys = Array.new(1_000) { |i| "bench:#{i}" }
ours.pipelined { |p| keys.each { |key| p.set(key, VALUE) } }
# redis-rb's pipelines stay on one node.
tagged = keys.map { |key| "{bench}#{key}" }
ours.pipelined { |p| tagged.each { |key| p.set(key, VALUE) } }
%w[bench:list bench:hash].each { |key| ours.del(key) }
ours.rpush("bench:list", Array.new(1_000) { VALUE })
ours.hset("bench:hash", Array.new(100) { |i| ["field #{i}", VALUE] })

def seconds
  before = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  yield
  Process.clock_gettime(Process::CLOCK_MONOTONIC) - before
end

def median(values)
  values.sort[values.length / 2]
end

{
  "GET" => [500, ->(c, i) { c.get(keys[i]) }],
  "SET" => [500, ->(c, i) { c.set(keys[i], VALUE) }],
  "pipeline of 1000 GETs" => [3, ->(c, _) { c.pipelined { |p| tagged.each { |key| p.get(key) } } }],
  "LRANGE of 1000" => [30, ->(c, _) { c.lrange("bench:list", 0, -1) }],
  "HGETALL of 100" => [200, ->(c, _) { c.hgetall("bench:hash") }]
}.each do |name, (times, work)|
  raise "#{name}: they differ" unless work.call(ours, 0) == work.call(theirs, 0)

  rounds = Array.new(ROUNDS) do
    [ours, theirs].map { |client| seconds { times.times { |i| work.call(client, i) } } / times }
  end
  ratio = median(rounds.map { |mine, other| other / mine })
  mine, other = rounds.transpose.map { |side| median(side) * 1e6 }
  puts format("%-22s  %8.1f us  redis-rb %8.1f us  x %.2f", name, mine, other, ratio)
end
spread = ours.pipelined { |p| keys.each { |key| p.get(key) } }
raise "lost" unless spread == [VALUE] * 1_000

each = median(Array.new(ROUNDS) { seconds { ours.pipelined { |p| keys.each { |key| p.get(key) } } } })
puts format("%-22s  %8.1f us  (redis-rb cannot)", "the same, all nodes", each * 1e6)
