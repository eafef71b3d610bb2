# frozen_string_literal: true

# Compares rediscluster with redis-rb in its cluster mode (apt-get install ruby-redis), in the cluster of RDC_URL and
# RDC_SEEDS:
#
#     cargo run -q -p support --bin cluster -- run -- ruby -Ilib bench.rb [ROUNDS] [--json]
#
# The clients alternate, so that other load on the machine affects both. The result is the median of the ratios.

require "json"
require "rediscluster"
require "redis"

JSON_ROWS = ARGV.delete("--json")
ROUNDS = (ARGV.first || 15).to_i
VALUE = "x" * 32

ours = RedisCluster.new(ENV.fetch("RDC_URL"))
theirs = Redis.new(cluster: ENV.fetch("RDC_SEEDS").split(",").map { |node| "redis://#{node}" })

keys = Array.new(1_000) { |i| "bench:#{i}" }
ours.pipelined { |p| keys.each { |key| p.set(key, VALUE) } }
# A pipeline of redis-rb is limited to one node.
tagged = keys.map { |key| "{bench}#{key}" }
ours.pipelined { |p| tagged.each { |key| p.set(key, VALUE) } }
%w[bench:list bench:hash].each { |key| ours.del(key) }
ours.rpush("bench:list", Array.new(1_000) { VALUE })
ours.hset("bench:hash", Array.new(100) { |i| ["field #{i}", VALUE] })

# Wall and CPU time in seconds.
def seconds
  clocks = [Process::CLOCK_MONOTONIC, Process::CLOCK_PROCESS_CPUTIME_ID]
  before = clocks.map { |clock| Process.clock_gettime(clock) }
  yield
  clocks.map { |clock| Process.clock_gettime(clock) }.zip(before).map { |after, was| after - was }
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
  raise "#{name}: the clients return different results" unless work.call(ours, 0) == work.call(theirs, 0)

  rounds = Array.new(ROUNDS) do |round|
    sides = [ours, theirs].map { |client| -> { seconds { times.times { |i| work.call(client, i) } } } }
    pair = round.even? ? sides.map(&:call) : sides.reverse.map(&:call).reverse
    pair.map { |side| side.map { |time| time / times } }
  end
  ratio = median(rounds.map { |our, their| their[0] / our[0] })
  our, their = rounds.transpose.map { |side| side.transpose.map { |times| median(times) * 1e6 } }
  if JSON_ROWS
    operations = name.start_with?("pipeline") ? 1_000 : 1
    figures = { wall: our[0], cpu: our[1], their_wall: their[0], their_cpu: their[1] }
    puts({ peer: "redis-rb #{Redis::VERSION}", work: name, **figures.transform_values { |us| us / operations }, ratio: ratio }.to_json)
  else
    puts format("%-22s  %8.1f us  redis-rb %8.1f us  x %.2f", name, our[0], their[0], ratio)
  end
end
values = ours.pipelined { |p| keys.each { |key| p.get(key) } }
raise "a pipeline returned wrong values" unless values == [VALUE] * 1_000

exit if JSON_ROWS
median_time = median(Array.new(ROUNDS) { seconds { ours.pipelined { |p| keys.each { |key| p.get(key) } } }[0] })
puts format("%-22s  %8.1f us  (redis-rb: not supported)", "the same, all nodes", median_time * 1e6)
