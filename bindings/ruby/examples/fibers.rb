# frozen_string_literal: true

# Fibers of one thread: while a call waits for the cluster, the other fibers run. This program needs the gem async; any
# other fiber scheduler works as well.
#
#     ruby fibers.rb redis://127.0.0.1:7000        (or the URL in RDC_URL)
require "async"
require "rediscluster"

client = RedisCluster.new(ARGV.first || ENV.fetch("RDC_URL"))
Async do |task|
  # The commands of all fibers are in flight together, one batch for each shard.
  reads = (0...100).map do |i|
    task.async do
      client.set("fibers:#{i}", i, ex: 60)
      client.get("fibers:#{i}").to_i
    end
  end
  puts "sum: #{reads.sum(&:wait)}"

  # Each of these waits 0.2 s for a list, and all of them at the same time.
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  lists = (0...50).map { |i| task.async { client.blpop("fibers:list:#{i}", timeout: 0.2) } }
  puts "lists: #{lists.filter_map(&:wait).length}"
  puts "together: #{Process.clock_gettime(Process::CLOCK_MONOTONIC) - began < 5}"

  # A pipeline waits like a command.
  results = client.pipelined do |p|
    p.get("fibers:1")
    p.get("fibers:2")
  end
  puts "pipeline: #{results.join(" ")}"

  # The timeout cancels the command, and the client works on.
  begin
    task.with_timeout(0.1) { client.blpop("fibers:none", timeout: 30) }
  rescue Async::TimeoutError
    puts "timeout, then #{client.get("fibers:3")}"
  end
end
client.close
