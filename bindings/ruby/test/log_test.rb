# frozen_string_literal: true

require_relative "support"
require "logger"
require "stringio"
require "timeout"

# The library's messages come in a Logger.
class LogTest < ClusterTest
  def teardown
    RedisCluster.logger = nil
    super
  end

  # Lines of an unreachable server, and what the block returned.
  def logged(level, nowhere = "redis://127.0.0.1:1", **options)
    text = StringIO.new
    logger = Logger.new(text, level: level)
    assert_raises(RedisCluster::Error) { RedisCluster.new(nowhere, logger: logger, timeout_ms: 300, **options) }
    text.string.lines
  end

  def test_messages_have_level_and_name_and_no_password
    lines = logged(Logger::DEBUG, "redis://user:secret@127.0.0.1:1")
    refute_empty lines
    lines.each { |line| assert_match(/\A[EWID], \[.*\] +(ERROR|WARN|INFO|DEBUG) -- rediscluster: \S/, line) }
    refute_match(/secret/, lines.join)
    assert_operator lines.length, :>, logged(Logger::ERROR).length
    assert_empty logged(Logger::FATAL)
    assert_equal Logger::FATAL, RedisCluster.logger.level
    RedisCluster.logger = nil
    assert_nil RedisCluster.logger
    logger = Logger.new(File::NULL)
    RedisCluster.new({ "url" => URL, "logger" => logger }).close
    assert_same logger, RedisCluster.logger
  end

  def test_messages_of_many_threads_come_whole
    lines = Thread::Queue.new
    logger = Logger.new(File::NULL, level: Logger::DEBUG)
    logger.define_singleton_method(:add) { |level, message, name| lines << [level, message, name, Thread.current] }
    RedisCluster.logger = logger
    threads = Array.new(8) do
      Thread.new do
        20.times do
          assert_raises(RedisCluster::Error) { RedisCluster.new("redis://127.0.0.1:1", timeout_ms: 50) }
          assert_equal "PONG", @rc.ping
        end
      end
    end
    threads.each(&:join)
    found = Array.new(lines.length) { lines.pop }
    assert_operator found.length, :>=, 160
    assert_equal ["rediscluster"], found.map { |line| line[2] }.uniq
    assert_empty threads - found.map(&:last), "each in the thread whose call it is about"
    assert(found.all? { |line| line[1].encoding == Encoding::UTF_8 && line[1].valid_encoding? })
  end

  def test_logger_that_raises_throws_or_uses_client_fails_no_call
    calls = 0
    again = -> { RedisCluster.new("redis://127.0.0.1:1", timeout_ms: 20) if calls < 3 }
    [-> { raise "broken" }, -> { throw :out }, -> { @rc.set(@name, "from the logger") }, again].each do |action|
      calls = 0
      logger = Object.new
      logger.define_singleton_method(:level) { Logger::DEBUG }
      logger.define_singleton_method(:add) { |*| calls += 1; action.call }
      catch(:out) do
        assert_raises(RedisCluster::CannotConnectError) do
          RedisCluster.new("redis://127.0.0.1:1", logger: logger, timeout_ms: 100)
        end
      end
      assert_operator calls, :>, 0
      assert_equal "PONG", @rc.ping
    end
    assert_equal "from the logger", @rc.get(@name)
  end

  # A logger that waits is interrupted with its call.
  def test_interrupts_during_logger_end_the_call
    logger = Object.new
    logger.define_singleton_method(:level) { Logger::DEBUG }
    logger.define_singleton_method(:add) { |*| sleep 0.05 }
    [true, false].each do |is_alone|
      other = Thread.new { sleep } unless is_alone
      5.times do
        started = now
        assert_raises(Timeout::Error) do
          Timeout.timeout(0.1) { RedisCluster.new("redis://127.0.0.1:1", logger: logger, timeout_ms: 5_000) }
        end
        assert_operator now - started, :<, 2
      end
      other&.kill
      assert_equal "PONG", @rc.ping
    end
  end

  def test_process_ends_and_forks_with_logger
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      $stdout.sync = true
      line = ->(*, name, _text) { "\#{name} \#{Process.pid}\\n" }
      RedisCluster.logger = Logger.new($stdout, level: Logger::DEBUG, formatter: line)
      rc = RedisCluster.new("#{URL}")
      begin; RedisCluster.new("redis://127.0.0.1:1", timeout_ms: 50); rescue RedisCluster::Error; end
      child = fork { begin; RedisCluster.new("redis://127.0.0.1:1", timeout_ms: 50); rescue RedisCluster::Error; end }
      Process.wait(child)
      puts $?.success?, child
      rc.pipelined { |p| 10.times { p.ping } }
    RUBY
    assert status.success?, output
    assert_match(/^true$/, output)
    assert_match(/^rediscluster #{output[/^\d+$/]}$/, output)
  end
end
