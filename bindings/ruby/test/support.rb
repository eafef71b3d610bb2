# frozen_string_literal: true

require "minitest/autorun"
require "socket"
require "rediscluster"

# What the tests have in common: a cluster, named by RDC_URL, that others use too.
class ClusterTest < Minitest::Test
  URL = ENV.fetch("RDC_URL") { abort "RDC_URL is not set: run the tests by `make test-ruby`" }

  def setup
    @rc = RedisCluster.new(URL)
    @name = "ruby:#{name}"
  end

  def teardown
    @rc.close
  end

  # A key of this test alone, that nothing is left in.
  def key(suffix = "")
    "#{@name}#{suffix}".tap { |key| @rc.del(key) }
  end

  # The control socket of the cluster, to look at servers and to break them: lines, as `cluster ctl` prints them.
  def ctl(*words)
    UNIXSocket.open(ENV.fetch("RDC_CONTROL")) do |socket|
      socket.puts(words.join(" "))
      lines = []
      while (line = socket.gets(chomp: true))
        return lines if line == "ok"

        flunk "ctl #{words.join(" ")}: #{line}" if line.start_with?("error ")
        lines << line
      end
      flunk "ctl #{words.join(" ")}: the socket closed"
    end
  end

  # Waits until the block gives something true.
  def eventually(seconds = 20)
    deadline = now + seconds
    until (result = yield)
      flunk "waited #{seconds} s in vain" if now > deadline
      Thread.pass
    end
    result
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  def run_ruby(script)
    output = IO.popen([RbConfig.ruby, "-w", "-I", File.expand_path("../lib", __dir__), "-e", script],
                      err: %i[child out], &:read)
    [output, $?]
  end
end
