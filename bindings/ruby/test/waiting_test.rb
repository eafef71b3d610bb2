# frozen_string_literal: true

require_relative "support"
require "timeout"

# Ctrl-C, Timeout, Thread#raise, Thread#kill and trap while a call waits.
class WaitingTest < ClusterTest
  # What a user notices. A machine that is busy otherwise may take longer once, but not each time.
  AT_ONCE = 0.1

  # The block gives how long something took, which is at once if any of three tries is.
  def at_once(name = nil)
    tries = []
    tries << yield while tries.length < 3 && (tries.min || 1) >= AT_ONCE
    assert_operator tries.min, :<, AT_ONCE, name
  end

  # Does something to this thread when it has been waiting for a while; gives when that was.
  def meanwhile(seconds = 0.05, &block)
    me = Thread.current
    Thread.new do
      sleep seconds
      now.tap { block.call(me) }
    end
  end

  def press(signal = :INT)
    meanwhile { Process.kill(signal, Process.pid) }
  end

  def handled(signal, handler)
    before = trap(signal, handler)
    yield
  ensure
    trap(signal, before)
  end

  # A client that waits for a node that hangs, and a key of that node.
  def stopped
    k = key
    port = ctl("primary-of", "key:#{k}").first
    patient = @rc.with(timeout_ms: 20_000, attempt_timeout_ms: 20_000)
    patient.get(k)
    ctl("stop", port)
    begin
      yield patient, k, port
    ensure
      ctl("cont", port)
      ctl("wait-healthy")
    end
  end

  def ways(patient, k, port)
    {
      "read" => -> { patient.get(k) },
      "write" => -> { patient.set(k, 1) },
      "pipeline" => -> { patient.pipelined { |p| p.get(k); p.get("a"); p.get("b"); p.get("c") } },
      "pipeline with errors" => -> { patient.pipelined(exception: false) { |p| p.get(k) } },
      "transaction" => -> { patient.multi { |t| t.get(k) } },
      "pinned" => -> { patient.pin(k) { |pinned| pinned.get(k) } },
      "several" => -> { patient.call_to("primaries", "TIME") },
      "new" => -> { RedisCluster.new("redis://127.0.0.1:#{port}", timeout_ms: 20_000, connect_timeout_ms: 20_000) }
    }
  end

  def test_ctrl_c_ends_a_call_at_once_however_it_waits
    stopped do |patient, k, port|
      elsewhere = (0..).lazy.map { |i| "#{k}:#{i}" }.find { |e| @rc.explain("GET", e)["nodes"] != ["127.0.0.1:#{port}"] }
      ways(patient, k, port).each do |name, way|
        at_once(name) do
          pressed = press
          assert_raises(Interrupt, name) { way.call }
          now - pressed.value
        end
        assert_nil patient.get(elsewhere), name
      end
    end
  end

  def test_another_thread_raises_and_the_call_ends
    stopped do |patient, k, port|
      ways(patient, k, port).each do |name, way|
        at_once(name) do
          raised = meanwhile { |me| me.raise(IOError, "enough") }
          assert_raises(IOError, name) { way.call }
          now - raised.value
        end
      end
    end
  end

  def test_timeout_means_what_it_says
    k = key
    at_once do
      began = now
      assert_raises(Timeout::Error) { Timeout.timeout(0.05) { @rc.blpop(k, timeout: 30) } }
      now - began - 0.05
    end
    @rc.rpush(k, "x")
    assert_equal [k, "x"], @rc.blpop(k, timeout: 30)
  end

  def test_a_thread_is_killed_while_it_waits
    k = key
    at_once do
      cleaned = false
      victim = Thread.new do
        @rc.blpop(k, timeout: 30)
      ensure
        cleaned = true
      end
      eventually { @rc.call_to("key:#{k}", "INFO", "clients")[/blocked_clients:(\d+)/, 1] != "0" }
      began = now
      victim.kill
      victim.join
      assert cleaned
      now - began
    end
    assert_equal 1, @rc.rpush(k, "x")
  end

  # Every command runs once, however often it is looked away from, also by using the client.
  def test_handlers_that_raise_nothing_end_nothing
    k = key
    seen = []
    port = ctl("primary-of", "key:#{k}").first
    patient = @rc.with(timeout_ms: 20_000, attempt_timeout_ms: 20_000)
    @rc.set("#{@name}:other", "value")
    handled(:USR1, proc { seen << @rc.get("#{@name}:other") }) do
      me = Process.pid
      storm = fork { loop { Process.kill(:USR1, me); sleep 0.002 } }
      (1..6).each do |i|
        ctl("stop", port)
        continued = meanwhile { ctl("cont", port) }
        result = i.odd? ? patient.incr(k) : patient.pipelined { |p| p.incr(k); p.get("#{@name}:other") }
        assert_equal i.odd? ? i : [i, "value"], result
        continued.join
      end
    ensure
      Process.kill(:KILL, storm)
      Process.wait(storm)
    end
    assert_operator seen.length, :>, 20
    assert_equal ["value"], seen.uniq
  end

  def test_what_a_handler_raises_ends_the_call
    k = key
    handled(:USR1, proc { raise IOError, "from the handler" }) do
      at_once do
        pressed = press(:USR1)
        assert_equal "from the handler", assert_raises(IOError) { @rc.blpop(k, timeout: 30) }.message
        now - pressed.value
      end
    end
    # What cannot pass through the library ends the call all the same.
    handled(:USR1, proc { throw :away }) do
      press(:USR1)
      assert_raises(RedisCluster::InterruptedError) { catch(:away) { @rc.blpop(k, timeout: 30) } }
    end
    assert_nil @rc.get(k)
  end

  def test_the_interpreter_ends_without_waiting_for_threads_in_calls
    began = now
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      rc = RedisCluster.new(#{URL.inspect})
      Array.new(4) { Thread.new { rc.blpop("#{@name}:nothing", timeout: 20) } }.each { |t| t.report_on_exception = true }
      Thread.pass until rc.call_to("key:#{@name}:nothing", "INFO", "clients")[/blocked_clients:(\\d+)/, 1].to_i >= 4
      puts "end"
    RUBY
    assert_equal ["end\n", true], [output, status.success?]
    assert_operator now - began, :<, 10
  end

  def test_threads_fibers_and_children_are_asked_alike
    k = key
    blocked = lambda do
      began = now
      assert_raises(Timeout::Error) { Timeout.timeout(0.05) { @rc.blpop(k, timeout: 30) } }
      now - began < 5
    end
    assert Thread.new(&blocked).value
    assert Fiber.new(&blocked).resume
    pid = fork { exit!(blocked.call ? 0 : 1) }
    assert Process.wait2(pid).last.success?
  end
end
