# frozen_string_literal: true

require_relative "support"
require "timeout"

# Threads, forks, interrupts, memory, exit of the interpreter.
class ProcessTest < ClusterTest
  def test_threads_sharing_client_get_their_own_replies
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

  def test_blocked_call_lets_other_threads_run
    k = key
    waiting = Thread.new { @rc.blpop(k, timeout: 20) }
    # If the call held Ruby's lock, this thread would run only after the timeout of BLPOP.
    started = now
    eventually { @rc.call_to("key:#{k}", "INFO", "clients")[/blocked_clients:(\d+)/, 1] != "0" }
    @rc.rpush(k, "here")
    assert_equal [k, "here"], waiting.value
    assert_operator now - started, :<, 15
  end

  def test_preforked_workers_and_parent_keep_working
    @rc.set(key("before"), "parent")
    workers = Array.new(4) do |worker|
      fork do
        correct = (1..50).all? do |i|
          k = "#{@name}:#{worker}:#{i}"
          @rc.set(k, k, ex: 60) == "OK" && @rc.pipelined { |p| p.get(k) } == [k]
        end
        exit!(correct ? 0 : 1)
      end
    end
    50.times { assert_equal "parent", @rc.get("#{@name}before") }
    assert(workers.all? { |pid| Process.wait2(pid).last.success? })
    assert_equal "parent", @rc.get("#{@name}before")
  end

  def test_exiting_child_does_not_disturb_parent
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      rc = RedisCluster.new(#{URL.inspect})
      rc.ping
      Process.wait(fork { rc.ping; rc.pipelined { |p| p.ping } })
      puts $?.success?, rc.ping
    RUBY
    assert_equal ["true\nPONG\n", true], [output, status.success?]
  end

  def test_interpreter_exits_with_open_clients_and_calls
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      $kept = RedisCluster.new(#{URL.inspect})
      $derived = Array.new(10) { $kept.readonly }
      $closed = $kept.readonly.tap(&:close)
      Array.new(4) { Thread.new { $kept.blpop("#{@name}:nothing", timeout: 0.5) } }
      Thread.new { loop { $kept.ping } }
      100.times { $kept.ping }
      puts "end"
    RUBY
    assert_equal ["end\n", true], [output, status.success?]
  end

  # An exception from another thread is raised after the call has returned.
  def test_timeout_between_calls_leaves_client_working
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

  def test_killed_thread_leaves_client_working
    k = key
    victim = Thread.new { @rc.blpop(k, timeout: 0.5) }
    eventually { victim.stop? }
    victim.kill
    victim.join
    assert_equal "PONG", @rc.ping
  end

  def test_memory_of_calls_is_freed
    k = key
    @rc.rpush(k, Array.new(500) { |i| "value #{i}" * 10 })
    round = lambda do |_|
      300.times do
        @rc.lrange(k, 0, -1)
        @rc.pipelined { |p| 10.times { p.lrange(k, 0, 50) } }
        @rc.readonly
        @rc.with(timeout_ms: 900) { |derived| derived.get("#{k}none") }
        assert_raises(RedisCluster::CommandError) { @rc.get(k) }
      end
      GC.start
      resident
    end
    before = Array.new(3, &round).max
    # One round reads 14 MB: leaked replies would add ten times that.
    after = Array.new(10, &round).min
    assert_operator after - before, :<, 10_000, "KiB"
  end

  def resident
    File.read("/proc/self/status")[/VmRSS:\s+(\d+)/, 1].to_i
  end
end
