# frozen_string_literal: true

require_relative "support"
require "timeout"

# Threads, forks, interrupts, memory, the end of the interpreter.
class ProcessTest < ClusterTest
  def test_threads_share_a_client_and_get_their_own_replies
    threads = Array.new(8) do |t|
      Thread.new do
        50.times do |i|
          k = "#{@name}:#{t}:#{i}"
          @rc.set(k, k, ex: 60)
          raise "#{k} got another's reply" unless @rc.get(k) == k && @rc.pipelined { |p| p.get(k) } == [k]
        end
      end
    end
    threads.each(&:join)
  end

  def test_other_threads_run_while_one_waits
    k = key
    waiting = Thread.new { @rc.blpop(k, timeout: 20) }
    # Were Ruby's lock held, this thread would get its turn only when the other's time is up.
    started = now
    eventually { @rc.call_to("key:#{k}", "INFO", "clients")[/blocked_clients:(\d+)/, 1] != "0" }
    @rc.rpush(k, "here")
    assert_equal [k, "here"], waiting.value
    assert_operator now - started, :<, 15
  end

  def test_preforked_workers_and_their_parent
    @rc.set(key("before"), "parent")
    workers = Array.new(4) do |worker|
      fork do
        same = (1..50).all? do |i|
          k = "#{@name}:#{worker}:#{i}"
          @rc.set(k, k, ex: 60) == "OK" && @rc.pipelined { |p| p.get(k) } == [k]
        end
        exit!(same ? 0 : 1)
      end
    end
    50.times { assert_equal "parent", @rc.get("#{@name}before") }
    assert(workers.all? { |pid| Process.wait2(pid).last.success? })
    assert_equal "parent", @rc.get("#{@name}before")
  end

  def test_a_child_that_ends_as_usual_leaves_its_parent_alone
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      rc = RedisCluster.new(#{URL.inspect})
      rc.ping
      Process.wait(fork { rc.ping; rc.pipelined { |p| p.ping } })
      puts $?.success?, rc.ping
    RUBY
    assert_equal ["true\nPONG\n", true], [output, status.success?]
  end

  def test_the_interpreter_ends_with_clients_open_and_threads_in_calls
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      $kept = RedisCluster.new(#{URL.inspect})
      $twins = Array.new(10) { $kept.readonly }
      $closed = $kept.readonly.tap(&:close)
      Array.new(4) { Thread.new { $kept.blpop("#{@name}:nothing", timeout: 0.5) } }
      Thread.new { loop { $kept.ping } }
      100.times { $kept.ping }
      puts "end"
    RUBY
    assert_equal ["end\n", true], [output, status.success?]
  end

  # An exception from another thread arrives when the call has ended, neither in between nor instead of it.
  def test_timeout_raises_and_the_client_works_on
    k = key
    20.times do
      begin
        Timeout.timeout(0.005) { loop { @rc.set(k, "v"); @rc.pipelined { |p| p.get(k) } } }
      rescue Timeout::Error
        nil
      end
      assert_equal "v", @rc.get(k)
    end
  end

  def test_a_thread_is_killed_in_a_call
    k = key
    victim = Thread.new { @rc.blpop(k, timeout: 0.5) }
    eventually { victim.stop? }
    victim.kill
    victim.join
    assert_equal "PONG", @rc.ping
  end

  def test_nothing_is_left_behind
    k = key
    @rc.rpush(k, Array.new(500) { |i| "value #{i}" * 10 })
    bout = lambda do |_|
      300.times do
        @rc.lrange(k, 0, -1)
        @rc.pipelined { |p| 10.times { p.lrange(k, 0, 50) } }
        @rc.readonly
        @rc.with(timeout_ms: 900) { |twin| twin.get("#{k}none") }
        assert_raises(RedisCluster::CommandError) { @rc.get(k) }
      end
      GC.start
      resident
    end
    before = Array.new(3, &bout).max
    # One bout reads 14 MB: if replies stayed, this would be ten times that.
    after = Array.new(10, &bout).min
    assert_operator after - before, :<, 10_000, "KiB"
  end

  def resident
    File.read("/proc/self/status")[/VmRSS:\s+(\d+)/, 1].to_i
  end
end
