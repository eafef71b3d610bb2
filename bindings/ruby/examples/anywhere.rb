# frozen_string_literal: true

# One program for every kind of server: only the URL differs.
#
#     ruby anywhere.rb redis://127.0.0.1:7000        (or the URL in RDC_URL)
#     ruby anywhere.rb unix:///run/redis.sock        (docs/endpoints.md has more)
require "rediscluster"

client = RedisCluster.new(ARGV.first || ENV.fetch("RDC_URL"), read_your_writes: true)
# Keys with the same text in braces are in the same slot of a cluster.
puts client.call("MSET", "{fruit}:apples", 3, "{fruit}:pears", 4)
counts = client.multi do |t|
  t.incrby("{fruit}:apples", 2)
  t.decrby("{fruit}:pears", 1)
end
puts counts.join(" ")
results = client.pipelined do |p|
  p.set("anywhere:a", "one")
  p.set("anywhere:b", "two")
  p.get("anywhere:a")
  p.get("anywhere:b")
end
puts results.last(2).join(" ")
# Reads from replicas that have what this program has written.
client.readonly { |readonly| puts readonly.get("{fruit}:apples") }
client.close
