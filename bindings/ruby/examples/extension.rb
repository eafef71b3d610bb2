# frozen_string_literal: true

# The time of GETs and of pipelines with the C extension of the gem and without it. The same program runs with both:
#
#     ruby extension.rb redis://127.0.0.1:7000       (or the URL in RDC_URL)
require "rediscluster"

ROUNDS = 10_000
url = ARGV.first || ENV.fetch("RDC_URL")

# The CPU time of this process for each of ROUNDS operations, in microseconds.
def microseconds
  clock = Process::CLOCK_PROCESS_CPUTIME_ID
  began = Process.clock_gettime(clock)
  yield
  ((Process.clock_gettime(clock) - began) / ROUNDS * 1e6).round(1)
end

client = RedisCluster.new(url)
client.set("extension:key", "value")
single = microseconds { ROUNDS.times { client.get("extension:key") } }
together = microseconds do
  (ROUNDS / 1_000).times { client.pipelined { |p| 1_000.times { p.get("extension:key") } } }
end
puts "#{RedisCluster::EXTENSION ? "with" : "without"} the extension: GET #{single} us, in a pipeline #{together} us"
client.close

# Once more in a process without it.
if RedisCluster::EXTENSION
  folders = $LOAD_PATH.flat_map { |folder| ["-I", folder] }
  exit system({ "RDC_RUBY_EXTENSION" => "no" }, RbConfig.ruby, *folders, __FILE__, url)
end
