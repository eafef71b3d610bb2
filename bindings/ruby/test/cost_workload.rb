# frozen_string_literal: true

# Counts the instructions of operations in user space, by callgrind.
#
#     ruby cost_workload.rb measure [redis-rb]     prints them as JSON: ours, or those of redis-rb
#     ruby cost_workload.rb load|run [redis-rb]    what it measures
#
# They include the interpreter's own for the loop and for the calls. The process calls getppid() before and after each
# operation, and callgrind writes its counters at these calls.

require "json"
require "rbconfig"
require "tmpdir"

module CostWorkload
  VALUE = "0123456789abcdef"
  KEYS = Array.new(1_000) { |i| format("key:%07d", i) }
  ELEMENTS = 10_000

  # How often each operation does what is counted.
  OPERATIONS = {
    get: KEYS.length, get_beside_thread: KEYS.length, pipeline: 10 * KEYS.length, lrange: 20, hgetall: 20
  }.freeze

  module_function

  def connect(client)
    return connect_redis_rb if client == "redis-rb"

    require "rediscluster"
    RedisCluster.new(ENV.fetch("RDC_URL"))
  end

  def connect_redis_rb
    require "redis"
    require "hiredis"
    Redis.new(cluster: ENV.fetch("RDC_SEEDS").split(",").map { |node| "redis://#{node}" }, driver: :hiredis)
  end

  # The keys of the pipeline. Pipelines of redis-rb are limited to one node.
  def pipeline_keys(rc)
    rc.class.name == "Redis" ? KEYS.map { |key| "{k}:#{key[-7..]}" } : KEYS
  end

  def load(rc)
    (KEYS + pipeline_keys(rc)).each { |key| rc.set(key, VALUE) }
    rc.del("biglist")
    rc.del("bighash")
    rc.rpush("biglist", [VALUE] * ELEMENTS)
    rc.hmset("bighash", *(0...ELEMENTS).flat_map { |i| ["field:#{i}", VALUE] })
  end

  def get(rc)
    KEYS.each { |key| rc.get(key) }
  end

  # With another thread, a call releases Ruby's lock.
  def get_beside_thread(rc)
    thread = Thread.new { sleep }
    Thread.pass until thread.stop?
    yield
    get(rc)
    yield
    thread.kill.join
  end

  def pipeline(rc)
    keys = pipeline_keys(rc)
    10.times do
      raise "wrong result" unless rc.pipelined { |p| keys.each { |key| p.get(key) } }.last == VALUE
    end
  end

  def lrange(rc)
    20.times { raise "wrong result" unless rc.lrange("biglist", 0, -1).last == VALUE }
  end

  def hgetall(rc)
    20.times { raise "wrong result" unless rc.hgetall("bighash").length == ELEMENTS }
  end

  def run(rc)
    mark = -> { Process.ppid }
    OPERATIONS.each_key do |operation|
      # The first time connects and grows buffers: it is not counted.
      if operation == :get_beside_thread
        get_beside_thread(rc) { nil }
        get_beside_thread(rc, &mark)
      else
        public_send(operation, rc)
        # So that the garbage of one operation is not collected in the next one.
        GC.start
        mark.call
        public_send(operation, rc)
        mark.call
      end
    end
  end

  # The instructions of one operation of each kind.
  def measure(client = nil)
    workload = [RbConfig.ruby, *$LOAD_PATH.flat_map { |folder| ["-I", folder] }, __FILE__]
    succeed(*workload, "load", *client)
    Dir.mktmpdir do |folder|
      succeed("valgrind", "--quiet", "--tool=callgrind", "--dump-before=getppid",
              "--callgrind-out-file=#{folder}/out", *workload, "run", *client)
      OPERATIONS.each_with_index.to_h do |(operation, times), i|
        # Each second part is between two calls of getppid() around an operation.
        text = File.read("#{folder}/out.#{2 * i + 2}")
        [operation, text[/^(?:summary|totals): (\d+)$/, 1].to_i.fdiv(times)]
      end
    end
  end

  def succeed(*command)
    raise "#{command.join(" ")} failed" unless system(*command)
  end
end

if $PROGRAM_NAME == __FILE__
  what, client = ARGV
  if what == "measure"
    puts CostWorkload.measure(client).to_json
  else
    CostWorkload.public_send(what, CostWorkload.connect(client))
  end
end
