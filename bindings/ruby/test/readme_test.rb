# frozen_string_literal: true

require_relative "support"
require_relative "gems"
require "ostruct"

# The programs of README.md run as they are printed there, and have the results that their comments say.
class ReadmeTest < ClusterTest
  TEXT = File.read(File.expand_path("../README.md", __dir__))
  BLOCKS = TEXT.scan(/^```ruby\n(.*?)^```$/m).flatten.freeze
  SEED = "redis://#{ENV.fetch("RDC_SEEDS")[/[^,]*/]}"

  # Other tests use these keys too.
  def teardown
    @rc.del("a", "name", "stock", "counter", "{user:1}a", "{user:1}b")
    super
  end

  # The block that begins with this text, for the cluster of the tests.
  def block(start)
    found = BLOCKS.select { |text| text.start_with?(start) }
    assert_equal 1, found.length, start
    found.first.gsub("redis://127.0.0.1:7000", SEED)
  end

  # Runs lines in a context, and compares each value with its comment, if that is a value.
  def run_lines(text, context)
    checked = text.lines.map do |line|
      code, expected = line.chomp.match(/\A(\S.*?)\s+# => (.+)\z/)&.captures
      next line if code.nil? || expected.include?("...")

      "check(#{code.inspect}, #{expected.sub(/(, (from|or) |; ).*/, "")}) { #{code} }\n"
    end
    context.eval(checked.join)
  end

  # A read-only client may read from a replica, which is behind.
  def check(code, expected)
    return eventually { yield == expected } if code.start_with?("readonly.")

    assert_equal expected, yield, code
  end

  def context
    rc = @rc
    rc.then { binding }
  end

  # Of the program that the README's subscription belongs to.
  def catch_up(_channel)
    flunk
  end

  def test_all_blocks_are_ruby
    assert_operator BLOCKS.length, :>, 9
    BLOCKS.each { |text| RubyVM::InstructionSequence.compile(text) }
  end

  def test_sessions_have_their_results
    @rc.del("counter")
    *session, refused = block("require \"rediscluster\"\n\nrc").lines
    here = context
    run_lines(session.join, here)
    assert_raises(RedisCluster::ReadonlyError) { here.eval(refused) }
    run_lines(block("rc.call(\"OBJECT\""), here)
    @rc.set("stock", 2)
    @rc.set("name", "n")
    @rc.del("a")
    assert_equal ["OK"], run_lines(block("rc.pipelined"), here)
    assert_equal ["1", "n"], [@rc.get("stock"), here.eval("name.value")]
    RedisCluster.new(nodes: [SEED], lazy: true).close
  end

  def test_messages_arrive
    run_lines(block("pubsub = rc.pubsub"), context)
    publisher = Thread.new { Thread.pass until @rc.publish("news", "stop").positive? }
    context.eval(block("rc.subscribe"))
    publisher.join
  end

  def test_fibers_run
    skip "the gem async is not there" unless Gems.load("async")
    started = now
    # It would print the exception of the task, which the test expects.
    Console.logger.off!
    assert_raises(Async::TimeoutError) { context.eval(block("Async do").sub(/^end$/, "end.wait")) }
    assert_operator now - started, :<, 10
  end

  def test_log_and_adapters
    context.eval(block("RedisCluster.logger"))
    assert_equal Logger::WARN, RedisCluster.logger.level
    skip Gems::MISSING unless Gems::HAS_REDIS && Gems.load("sidekiq")
    here = context
    here.eval(block("require \"rediscluster/redis_client\""))
    assert_equal "bar", here.eval("config").new_client.call("GET", "foo16706")
    config = OpenStruct.new
    binding.eval(block("require \"rediscluster/redis\""))
    assert_equal "bar", config.cache_store.last[:redis].get("foo16706")
  ensure
    RedisCluster.logger = nil
  end
end
