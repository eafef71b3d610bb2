# frozen_string_literal: true

require_relative "support"
require "timeout"
require "tmpdir"

# Interrupts while a call waits: Ctrl-C, Timeout, Thread#raise, Thread#kill and trap.
class WaitCallbackTest < ClusterTest
  # The limit in seconds for an interrupt to take effect. A busy machine may exceed it, but not in every try.
  AT_ONCE = 0.1

  # A process that a shell starts in the background ignores SIGINT, and Ruby keeps that.
  def setup
    super
    @sigint_handler = trap(:INT, "DEFAULT")
  end

  def teardown
    trap(:INT, @sigint_handler)
    super
  end

  # Asserts that one of three tries is within the limit. The block returns its duration in seconds.
  def at_once(name = nil)
    tries = []
    tries << yield while tries.length < 3 && (tries.min || 1) >= AT_ONCE
    assert_operator tries.min, :<, AT_ONCE, name
  end

  # Calls the block with this thread after a delay, from another thread. The value of that thread is the time of the
  # call.
  def after_delay(seconds = 0.05, &block)
    target = Thread.current
    Thread.new do
      sleep seconds
      now.tap { block.call(target) }
    end
  end

  def send_signal(signal = :INT)
    after_delay { Process.kill(signal, Process.pid) }
  end

  def with_trap(signal, handler)
    before = trap(signal, handler)
    yield
  ensure
    trap(signal, before)
  end

  # Yields a client with long timeouts, a key whose primary is suspended, and the port of that primary.
  def with_stopped_primary
    k = key
    port = ctl("primary-of", "key:#{k}").first
    client = @rc.with(timeout_ms: 20_000, attempt_timeout_ms: 20_000)
    client.get(k)
    ctl("stop", port)
    begin
      yield client, k, port
    ensure
      ctl("cont", port)
      ctl("wait-healthy")
    end
  end

  def calls(client, k, port)
    {
      "read" => -> { client.get(k) },
      "write" => -> { client.set(k, 1) },
      "pipeline" => -> { client.pipelined { |p| p.get(k); p.get("a"); p.get("b"); p.get("c") } },
      "pipeline with errors" => -> { client.pipelined(exception: false) { |p| p.get(k) } },
      "transaction" => -> { client.multi { |t| t.get(k) } },
      "pinned" => -> { client.pin(k) { |pinned| pinned.get(k) } },
      "several" => -> { client.call_to("primaries", "TIME") },
      "new" => -> { RedisCluster.new("redis://127.0.0.1:#{port}", timeout_ms: 20_000, connect_timeout_ms: 20_000) }
    }
  end

  def test_ctrl_c_ends_every_kind_of_call
    with_stopped_primary do |client, k, port|
      other_key = (0..).lazy.map { |i| "#{k}:#{i}" }.find do |candidate|
        @rc.explain("GET", candidate)["nodes"] != ["127.0.0.1:#{port}"]
      end
      calls(client, k, port).each do |name, call|
        at_once(name) do
          sent = send_signal
          assert_raises(Interrupt, name) { call.call }
          now - sent.value
        end
        assert_nil client.get(other_key), name
      end
    end
  end

  def test_thread_raise_ends_every_kind_of_call
    with_stopped_primary do |client, k, port|
      calls(client, k, port).each do |name, call|
        at_once(name) do
          raised = after_delay { |thread| thread.raise(IOError, "enough") }
          assert_raises(IOError, name) { call.call }
          now - raised.value
        end
      end
    end
  end

  def test_timeout_ends_blocking_call
    k = key
    at_once do
      began = now
      assert_raises(Timeout::Error) { Timeout.timeout(0.05) { @rc.blpop(k, timeout: 30) } }
      now - began - 0.05
    end
    @rc.rpush(k, "x")
    assert_equal [k, "x"], @rc.blpop(k, timeout: 30)
  end

  def test_thread_kill_ends_blocking_call
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

  # Every command runs once, however often its wait is interrupted, also if the handler uses the client.
  def test_signal_handler_that_returns_does_not_end_call
    k = key
    seen = []
    port = ctl("primary-of", "key:#{k}").first
    client = @rc.with(timeout_ms: 20_000, attempt_timeout_ms: 20_000)
    @rc.set("#{@name}:other", "value")
    with_trap(:USR1, proc { seen << @rc.get("#{@name}:other") }) do
      pid = Process.pid
      signaller = fork { loop { Process.kill(:USR1, pid); sleep 0.002 } }
      (1..6).each do |i|
        ctl("stop", port)
        continued = after_delay { ctl("cont", port) }
        result = i.odd? ? client.incr(k) : client.pipelined { |p| p.incr(k); p.get("#{@name}:other") }
        assert_equal i.odd? ? i : [i, "value"], result
        continued.join
      end
    ensure
      Process.kill(:KILL, signaller)
      Process.wait(signaller)
    end
    assert_operator seen.length, :>, 20
    assert_equal ["value"], seen.uniq
  end

  def test_signal_handler_that_raises_ends_call
    k = key
    with_trap(:USR1, proc { raise IOError, "from the handler" }) do
      at_once do
        sent = send_signal(:USR1)
        assert_equal "from the handler", assert_raises(IOError) { @rc.blpop(k, timeout: 30) }.message
        now - sent.value
      end
    end
    # A throw cannot unwind the library, but it ends the call. With the C extension, it goes on then.
    with_trap(:USR1, proc { throw :away, "thrown" }) do
      send_signal(:USR1)
      call = -> { catch(:away) { @rc.blpop(k, timeout: 30) } }
      RedisCluster::EXTENSION ? assert_equal("thrown", call.call) : assert_raises(RedisCluster::InterruptedError, &call)
    end
    assert_nil @rc.get(k)
  end

  def test_signals_end_call_of_single_thread
    output, status = run_ruby(<<~RUBY)
      require "rediscluster"
      rc = RedisCluster.new(#{URL.inspect})
      trap(:INT, "DEFAULT")
      trap(:USR1) { puts "handled" }
      signaller = fork { sleep 0.1; [:USR1, :INT].each { |s| Process.kill(s, Process.ppid); sleep 0.1 }; exit! }
      begin
        rc.blpop("#{@name}:nothing", timeout: 30)
      rescue Interrupt
        puts "ended"
      end
      Process.wait(signaller)
      p rc.get("#{@name}:nothing")
    RUBY
    assert_equal ["handled\nended\nnil\n", true], [output, status.success?]
  end

  # Ruby's function that runs a callback, with a signal that arrives directly behind the callback.
  SIGNAL_BEHIND_CALLBACK = <<~C
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <signal.h>
    #include <stdlib.h>
    typedef void *function(void *);
    struct call { function *function; void *argument; };
    static void *run(void *data) {
      struct call *call = data;
      void *result = call->function(call->argument);
      if (getenv("SIGNAL_BEHIND_CALLBACK"))
        raise(SIGUSR1);
      return result;
    }
    void *rb_thread_call_with_gvl(function *function, void *argument) {
      void *(*original)() = (void *(*)())dlsym(RTLD_NEXT, "rb_thread_call_with_gvl");
      struct call call = {function, argument};
      return original(run, &call);
    }
  C

  # An exception there would leave the library's stack frames without their clean-up.
  def test_exception_behind_callback_unwinds_no_call_of_single_thread
    Dir.mktmpdir do |folder|
      File.write("#{folder}/signal.c", SIGNAL_BEHIND_CALLBACK)
      compiled = system(*%W[cc -shared -fPIC -w -o #{folder}/signal.so #{folder}/signal.c -ldl])
      assert compiled
      output, status = run_ruby(<<~RUBY, "LD_PRELOAD" => "#{folder}/signal.so")
        require "rediscluster"
        rc = RedisCluster.new(#{URL.inspect})
        trap(:USR1) { raise "from the handler" }
        5.times do
          ENV["SIGNAL_BEHIND_CALLBACK"] = "1"
          rc.blpop("#{@name}:nothing", timeout: 0.1)
        rescue RuntimeError
          puts $!.message
        ensure
          ENV.delete("SIGNAL_BEHIND_CALLBACK")
        end
        puts rc.topology.sum { |shard| shard["primary"]["connections"] }
      RUBY
      assert_equal ["1\n", true], [output, status.success?]
    end
  end

  def test_interpreter_exit_ends_calls_of_threads
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

  def test_threads_fibers_and_children_are_interruptible
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
