# frozen_string_literal: true

require_relative "support"
require_relative "fiber_scheduler"
require "timeout"
begin
  require "async"
rescue LoadError
  nil
end

# Calls of fibers under a scheduler: other fibers run meanwhile, and each fiber gets its own reply.
class FiberTest < ClusterTest
  # The number of rounds of a script that takes about this many seconds on one key.
  SLOW = "local t = redis.call('TIME') local e = t[1] * 1000000 + t[2] + ARGV[1] repeat t = redis.call('TIME') " \
         "until t[1] * 1000000 + t[2] >= e return redis.call('GET', KEYS[1])"

  def setup
    skip "Ruby #{RUBY_VERSION} has no Fiber.current_scheduler" unless Fiber.respond_to?(:current_scheduler)
    super
  end

  def teardown
    super if @rc
  end

  # Runs the block in a fiber of a scheduler, until all fibers have ended. Raises what a fiber raised.
  def schedule
    raised = nil
    Thread.new do
      Fiber.set_scheduler(FiberScheduler.new)
      Fiber.schedule do
        yield
      rescue Exception => e # rubocop:disable Lint/RescueException
        raised = e
      end
    end.join
    raise raised if raised
  end

  # Starts a fiber for each element, and waits for all results.
  def each_in_fiber(elements)
    results = Thread::Queue.new
    elements.each_with_index do |element, i|
      Fiber.schedule do
        results << [i, yield(element), nil]
      rescue StandardError, Minitest::Assertion => e
        results << [i, nil, e]
      end
    end
    Array.new(elements.to_a.length) { results.pop }.sort_by(&:first).map do |_, result, raised|
      raised ? raise(raised) : result
    end
  end

  def test_many_fibers_wait_at_the_same_time
    k = key
    @rc.set(k, "value")
    schedule do
      # Each call waits 0.2 s on a connection of its own: one after the other would take 20 s.
      began = now
      lists = (0...100).map { |i| "#{@name}:#{i}" }
      assert_equal [nil] * 100, each_in_fiber(lists) { |list| @rc.blpop(list, timeout: 0.2) }
      together = now - began
      began = now
      @rc.blpop("#{@name}:list", timeout: 0.2)
      alone = now - began
      assert_operator together, :<, 10 * alone
      assert_operator alone, :>=, 0.2
    end
  end

  # A node is busy for 0.2 s. The commands of all fibers wait for it together.
  def test_hundred_gets_take_the_time_of_one_slow_command
    keys = (0...100).map { |i| "{#{@name}}:#{i}" }
    @rc.pipelined { |p| keys.each { |k| p.set(k, k, ex: 60) } }
    schedule do
      @rc.get(keys.first)
      began = now
      slow = proc { @rc.eval(SLOW, [keys.first], [200_000]) }
      results = each_in_fiber([slow, *keys]) { |work| work.is_a?(Proc) ? work.call : @rc.get(work) }
      assert_equal [keys.first, *keys], results
      assert_operator now - began, :<, 2
    end
  end

  def test_commands_of_many_fibers_leave_together
    keys = (0...100).map { |i| "{#{@name}}:#{i}" }
    port = ctl("primary-of", "key:#{keys.first}").first
    reads = -> { @rc.call_to("127.0.0.1:#{port}", "INFO", "stats")[/total_reads_processed:(\d+)/, 1].to_i }
    schedule do
      @rc.get(keys.first)
      before = reads.call
      each_in_fiber(keys) { |k| @rc.get(k) }
      assert_operator reads.call - before, :<, 50
    end
  end

  def test_each_fiber_gets_its_own_reply
    schedule do
      each_in_fiber(0...50) do |fiber|
        20.times do |i|
          k = "#{@name}:#{fiber}:#{i}"
          assert_equal "OK", @rc.set(k, k, ex: 60)
          assert_equal k, @rc.get(k)
          assert_equal [k, 1, 1], @rc.pipelined { |p| p.get(k); p.exists(k); p.del(k) }
          assert_equal [nil, 0], @rc.multi { |t| t.get(k); t.exists(k) }
        end
      end
    end
  end

  def test_errors_belong_to_their_fiber
    k = key
    @rc.set(k, "text")
    schedule do
      results = each_in_fiber(0...20) do |i|
        i.odd? ? @rc.get(k) : assert_raises(RedisCluster::CommandError) { @rc.lpush(k, "x") }.code
      end
      assert_equal %w[WRONGTYPE text] * 10, results
      assert_raises(RedisCluster::CrossSlotError) { @rc.rename("a", "b") }
      results = @rc.pipelined(exception: false) { |p| p.get(k); p.lpush(k, 1) }
      assert_equal ["text", RedisCluster::WrongTypeError], [results[0], results[1].class]
      assert_raises(RedisCluster::CommandError) { @rc.pipelined { |p| p.lpush(k, 1) } }
    end
  end

  def test_values_of_all_kinds
    k = key
    schedule do
      @rc.hset(k, "field", 1, "other", 2.5)
      assert_equal({ "field" => "1", "other" => "2.5" }, @rc.hgetall(k))
      assert_equal true, @rc.hexists(k, "field")
      @rc.rpush("#{k}:list", Array.new(2_000, &:to_s)) if @rc.del("#{k}:list")
      assert_equal Array.new(2_000, &:to_s), @rc.lrange("#{k}:list", 0, -1)
      assert_includes @rc.scan_each(match: "#{k}*").to_a, k
      assert_equal "\xFF\0".b, @rc.set(k, "\xFF\0".b) && @rc.get(k).b
    end
  end

  def test_calls_of_every_kind_let_other_fibers_run
    schedule do
      ticks = 0
      ticking = true
      Fiber.schedule { (ticks += 1) && sleep(0.001) while ticking }
      @rc.call_to("key:a", "EVAL", SLOW, 1, "a", 100_000)
      assert_operator ticks, :>, 10
      assert_raises(RedisCluster::InvalidError) { @rc.call_to("nowhere", "PING") }
      assert_operator @rc.call_to("primaries", "DBSIZE").length, :>, 1
      @rc.refresh
      created = RedisCluster.new(URL)
      assert_equal "PONG", created.ping
      created.close
      assert_raises(RedisCluster::InvalidError) { RedisCluster.new(URL, timeout_ms: "soon") }
    ensure
      # Without it, the scheduler never ends.
      ticking = false
    end
  end

  def test_timeout_cancels_the_command
    k = key
    schedule do
      began = now
      assert_raises(Timeout::Error) { Timeout.timeout(0.1) { @rc.blpop(k, timeout: 30) } }
      assert_operator now - began, :<, 5
      # The connection of the command is closed: it takes no element any more.
      eventually { @rc.call_to("key:#{k}", "INFO", "clients")[/blocked_clients:(\d+)/, 1] == "0" }
      @rc.rpush(k, "x")
      assert_equal [k, "x"], @rc.blpop(k, timeout: 30)
    end
  end

  # The fiber that waits for the descriptor ends, and the others still get their replies.
  def test_timeout_of_one_fiber_leaves_the_others
    lists = (0...20).map { |i| key(":#{i}") }
    schedule do
      pushing = proc do
        sleep 0.3
        lists.each { |list| @rc.rpush(list, list) }
      end
      calls = lists.each_with_index.map do |list, i|
        next proc { assert_equal [list, list], @rc.blpop(list, timeout: 30) } if i.odd?

        proc { assert_raises(Timeout::Error) { Timeout.timeout(0.02 * (i + 1) / 2) { @rc.blpop(list, timeout: 30) } } }
      end
      each_in_fiber([*calls, pushing], &:call)
    end
  end

  def test_close_ends_waiting_fibers
    k = key
    client = @rc.with(timeout_ms: 20_000)
    schedule do
      closing = proc do
        sleep 0.1
        client.close
      end
      waiting = proc { assert_raises(RedisCluster::ClosedError) { client.blpop(k, timeout: 30) } }
      each_in_fiber([waiting, waiting, closing], &:call)
      assert_raises(RedisCluster::ClosedError) { client.get(k) }
    end
  end

  def test_derived_and_pinned_clients
    k = key
    schedule do
      @rc.set(k, 1)
      assert_raises(RedisCluster::ReadonlyError) { @rc.readonly { |readonly| readonly.set(k, 2) } }
      @rc.with(timeout_ms: 300) { |quick| assert_equal "1", quick.get(k) }
      @rc.pin(k) do |pinned|
        pinned.call("WATCH", k)
        pinned.call("MULTI")
        pinned.call("INCR", k)
        assert_equal [2], pinned.call("EXEC")
      end
    end
  end

  # Each fiber watches with a connection of its own, and none of their changes is lost.
  def test_fibers_watch_one_key
    k = key
    add = proc { |w| w.get(k).to_i.then { |n| w.multi { |t| t.set(k, n + 1) } } }
    schedule { each_in_fiber(0...5) { |_| 4.times { nil until @rc.watch(k, &add) } } }
    assert_equal "20", @rc.get(k)
  end

  def test_threads_with_schedulers_share_a_client
    threads = Array.new(4) do |t|
      Thread.new do
        schedule do
          each_in_fiber(0...20) do |i|
            k = "#{@name}:#{t}:#{i}"
            @rc.set(k, k, ex: 60)
            assert_equal k, @rc.get(k)
          end
        end
      end
    end
    threads.each(&:join)
    assert_equal "PONG", @rc.ping
  end

  def test_blocking_fibers_and_threads_need_no_queue
    schedule do
      assert_equal "PONG", Fiber.new(blocking: true) { @rc.ping }.resume
      assert_equal "PONG", Thread.new { @rc.ping }.value
    end
    assert_equal "PONG", @rc.ping
  end

  # Each scheduler and each derived client has a queue, whose descriptors are closed with it.
  def test_descriptors_are_closed
    descriptors = -> { Dir.children("/proc/self/fd").length }
    round = lambda do
      20.times { schedule { @rc.with(timeout_ms: 900) { |derived| derived.get("#{@name}:none") } } }
      GC.start
      descriptors.call
    end
    before = Array.new(3) { round.call }.max
    after = Array.new(5) { round.call }.min
    assert_operator after, :<=, before
  end

  # Replies of calls that a timeout has ended are freed too.
  def test_memory_of_fiber_calls_is_freed
    k = key
    @rc.rpush(k, Array.new(500) { |i| "value #{i}" * 10 })
    round = lambda do |_|
      schedule do
        each_in_fiber(0...20) do
          15.times do |i|
            @rc.lrange(k, 0, -1)
            @rc.pipelined { |p| 10.times { p.lrange(k, 0, 50) } }
            Timeout.timeout(i * 0.0002) { @rc.lrange(k, 0, -1) }
          rescue Timeout::Error
            nil
          end
        end
      end
      GC.start
      File.read("/proc/self/status")[/VmRSS:\s+(\d+)/, 1].to_i
    end
    before = Array.new(4, &round).max
    # One round reads more than 14 MB: leaked replies would add ten times that.
    after = Array.new(10, &round).min
    assert_operator after - before, :<, 10_000, "KiB"
  end

  def test_forked_child_of_a_scheduler_uses_the_client
    k = key
    @rc.set(k, "value")
    schedule do
      assert_equal "value", @rc.get(k)
      pid = fork do
        # Ruby cannot switch to the scheduler's fiber in the child.
        Fiber.new(blocking: true) do
          correct = @rc.get(k) == "value"
          schedule { correct &&= each_in_fiber(0...3) { @rc.get(k) } == ["value"] * 3 }
          exit!(correct ? 0 : 1)
        end.resume
      end
      assert Process.wait2(pid).last.success?
      assert_equal "value", @rc.get(k)
    end
  end

  def test_error_without_a_descriptor
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      require #{File.expand_path("fiber_scheduler.rb", __dir__).inspect}
      rc = RedisCluster.new(#{URL.inspect})
      Fiber.set_scheduler(FiberScheduler.new)
      Fiber.schedule do
        before = Process.getrlimit(:NOFILE)
        Process.setrlimit(:NOFILE, Dir.children("/proc/self/fd").length - 1, before[1])
        begin
          rc.ping
        rescue RedisCluster::ConnectionError => e
          puts e.sent?
        end
        Process.setrlimit(:NOFILE, *before)
        puts rc.ping
      end
    RUBY
    assert_equal ["false\nPONG\n", true], [output, status.success?]
  end

  def test_handler_of_trap_uses_the_client_in_a_fiber
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      require #{File.expand_path("fiber_scheduler.rb", __dir__).inspect}
      rc = RedisCluster.new(#{URL.inspect})
      trap(:USR1) { puts rc.ping }
      Fiber.set_scheduler(FiberScheduler.new)
      Fiber.schedule do
        rc.ping
        Process.kill(:USR1, Process.pid)
        100_000.times { |i| i.to_s }
        puts rc.get("#{@name}:none").inspect
      end
    RUBY
    assert_equal ["PONG\nnil\n", true], [output, status.success?]
  end

  def test_example
    skip "the gem async is not installed" unless defined?(Async)

    output, status = run_ruby("load #{File.expand_path("../examples/fibers.rb", __dir__).inspect}", "RDC_URL" => URL)
    expected = ["sum: 4950", "lists: 0", "together: true", "pipeline: 1 2", "timeout, then 3"]
    assert_equal [expected, true], [output.lines(chomp: true), status.success?]
  end

  def test_async
    skip "the gem async is not installed" unless defined?(Async)

    k = key
    Async do |task|
      began = now
      tasks = (0...100).map { |i| task.async { @rc.blpop("#{k}:list:#{i}", timeout: 0.2) } }
      assert_equal [nil] * 100, tasks.map(&:wait)
      assert_operator now - began, :<, 5
      tasks = (0...100).map { |i| task.async { @rc.set("#{k}:#{i}", i, ex: 60) && @rc.get("#{k}:#{i}") } }
      assert_equal (0...100).map(&:to_s), tasks.map(&:wait)
      assert_raises(Async::TimeoutError) { task.with_timeout(0.1) { @rc.blpop(k, timeout: 30) } }
      stopped = task.async { @rc.blpop(k, timeout: 30) }
      waiting = task.async { @rc.blpop("#{k}:list", timeout: 30) }
      task.sleep(0.05)
      stopped.stop
      @rc.rpush("#{k}:list", "x")
      assert_equal ["#{k}:list", "x"], waiting.wait
    end
  end
end
