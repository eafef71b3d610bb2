# frozen_string_literal: true

require "minitest/autorun"
require "socket"
require "rediscluster"

# The base class of the tests, which share the cluster at RDC_URL with other tests.
class ClusterTest < Minitest::Test
  URL = ENV.fetch("RDC_URL") { abort "RDC_URL is not set, so there is no cluster to test with: run `make test-ruby`" }

  def setup
    @rc = RedisCluster.new(URL)
    @name = "ruby:#{name}"
  end

  def teardown
    @rc.close
  end

  # A key that only this test uses, deleted first.
  def key(suffix = "")
    "#{@name}#{suffix}".tap { |key| @rc.del(key) }
  end

  # Runs a command of the control socket of the cluster, which inspects servers and injects faults. Returns the lines
  # that `cluster ctl` would print.
  def ctl(*args)
    UNIXSocket.open(ENV.fetch("RDC_CONTROL")) do |socket|
      socket.puts(args.join(" "))
      lines = []
      while (line = socket.gets(chomp: true))
        return lines if line == "ok"

        flunk "ctl #{args.join(" ")}: #{line}" if line.start_with?("error ")
        lines << line
      end
      flunk "ctl #{args.join(" ")}: the socket closed"
    end
  end

  # Waits until the block returns a true value.
  def eventually(seconds = 20)
    deadline = now + seconds
    until (result = yield)
      flunk "the condition was not true within #{seconds} s" if now > deadline
      Thread.pass
    end
    result
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  def run_ruby(script, environment = {})
    output = IO.popen([environment, RbConfig.ruby, "-w", "-I", File.expand_path("../lib", __dir__), "-e", script],
                      err: %i[child out], &:read)
    [output, $?]
  end
end
