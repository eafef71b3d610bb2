# frozen_string_literal: true

require "minitest/autorun"
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

  # The cluster tool, to look at servers and to break them.
  def ctl(*words)
    skip "RDC_CLUSTER is not set: no way to reach the servers themselves" unless ENV["RDC_CLUSTER"]
    output = IO.popen([ENV["RDC_CLUSTER"], "ctl", *words.map(&:to_s)], err: %i[child out], &:read)
    assert $?.success?, "ctl #{words.join(" ")}: #{output}"
    output.lines.map(&:strip)
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
