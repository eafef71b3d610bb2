# frozen_string_literal: true

require_relative "support"
require_relative "fiber_scheduler"
require "timeout"

# Publish/subscribe with the forms of redis-rb and of redis-client.
class PubSubTest < ClusterTest
  def subscribers(channel)
    @rc.pubsub("NUMSUB", channel)[channel]
  end

  # Calls the block, with a PubSub, and closes it.
  def with_pubsub
    pubsub = @rc.pubsub
    yield pubsub
  ensure
    pubsub.close
  end

  # The forms of subscriptions: their commands and their messages.
  FORMS = [
    %i[subscribe unsubscribe message publish],
    %i[psubscribe punsubscribe pmessage publish],
    %i[ssubscribe sunsubscribe smessage spublish]
  ].freeze

  def test_block_gets_messages_until_it_unsubscribes
    FORMS.each do |subscribe, unsubscribe, message, publish|
      seen = []
      # A channel each: a message travels from node to node, and may arrive later.
      name = "#{@name}:#{subscribe}"
      @rc.public_send(subscribe, name) do |on|
        on.public_send(subscribe) do |channel, count|
          seen << [subscribe, channel, count]
          @rc.public_send(publish, name, "x")
        end
        on.public_send(message) do |*values|
          seen << values
          @rc.public_send(unsubscribe)
        end
        on.public_send(unsubscribe) { |channel, count| seen << [unsubscribe, channel, count] }
      end
      values = message == :pmessage ? [name, name, "x"] : [name, "x"]
      assert_equal [[subscribe, name, 1], values, [unsubscribe, name, 0]], seen
      refute_predicate @rc, :subscribed?
    end
  end

  def test_subscriptions_are_changed_inside_the_block
    channels = []
    @rc.subscribe("#{@name}:1") do |on|
      on.subscribe do |channel, count|
        channels << channel
        assert_predicate @rc, :subscribed?
        assert_raises(RedisCluster::SubscriptionError) { @rc.subscribe("again") { nil } }
        @rc.subscribe("#{@name}:2", "#{@name}:3") if count == 1
        @rc.set("#{@name}:key", "other commands run") && @rc.unsubscribe if count == 3
      end
    end
    assert_equal(["#{@name}:1", "#{@name}:2", "#{@name}:3"], channels)
    assert_equal "other commands run", @rc.get("#{@name}:key")
  end

  def test_methods_outside_of_a_block_raise
    %i[subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe].each do |method|
      assert_raises(RedisCluster::SubscriptionError) { @rc.public_send(method, "x") }
    end
    assert_raises(RedisCluster::InvalidError) { @rc.subscribe { nil } }
    refute_predicate @rc, :subscribed?
  end

  def test_timeout_ends_the_subscription
    began = now
    @rc.subscribe_with_timeout(0.2, @name) { |on| on.message { flunk } }
    assert_in_delta 0.2, now - began, 1
    eventually { subscribers(@name).zero? }
  end

  def test_exception_in_the_block_ends_the_subscription
    assert_raises(IndexError) do
      @rc.subscribe(@name) { |on| on.subscribe { raise IndexError } }
    end
    refute_predicate @rc, :subscribed?
    eventually { subscribers(@name).zero? }
  end

  def test_threads_subscribe_with_one_client
    threads = Array.new(5) do |i|
      Thread.new do
        values = []
        @rc.subscribe("#{@name}:#{i}") do |on|
          on.message do |_, message|
            values << message
            @rc.unsubscribe
          end
        end
        values
      end
    end
    5.times do |i|
      eventually { subscribers("#{@name}:#{i}") == 1 }
      @rc.publish("#{@name}:#{i}", i)
    end
    assert_equal([["0"], ["1"], ["2"], ["3"], ["4"]], threads.map(&:value))
  end

  def test_next_event_returns_events
    with_pubsub do |pubsub|
      assert_nil pubsub.call("SUBSCRIBE", @name)
      pubsub.call("SSUBSCRIBE", "#{@name}:a", "#{@name}:b")
      confirmed = Array.new(3) { pubsub.next_event(5) }
      assert_includes confirmed, ["subscribe", @name, 1]
      @rc.publish(@name, "\xFF\x00")
      assert_equal ["message", @name, "\xFF\x00".b], pubsub.next_event(5)
      @rc.spublish("#{@name}:b", "é")
      assert_equal ["smessage", "#{@name}:b", "é"], pubsub.next_event
      assert_nil pubsub.next_event(0)
      began = now
      assert_nil pubsub.next_event(0.1)
      assert_in_delta 0.1, now - began, 1
      assert_raises(RedisCluster::InvalidError) { pubsub.call("GET", "x") }
    end
  end

  def test_many_messages_keep_their_order
    with_pubsub do |pubsub|
      pubsub.call("SSUBSCRIBE", @name)
      pubsub.next_event(5)
      @rc.pipelined { |p| 2000.times { |i| p.spublish(@name, i) } }
      assert_equal((0...2000).to_a, Array.new(2000) { Integer(pubsub.next_event(5).last) })
    end
  end

  def test_wake_and_close_end_next_event
    pubsub = @rc.pubsub
    pubsub.call("SUBSCRIBE", @name)
    pubsub.next_event(5)
    thread = Thread.new { pubsub.next_event }
    eventually { thread.stop? }
    pubsub.wake
    assert_nil thread.value
    pubsub.close
    assert_raises(RedisCluster::ClosedError) { pubsub.next_event }
    assert_nil pubsub.wake
  end

  def test_other_threads_subscribe_and_close_while_one_waits
    pubsub = @rc.pubsub
    pubsub.call("SUBSCRIBE", @name)
    seen = []
    thread = Thread.new do
      loop { seen << pubsub.next_event }
    rescue RedisCluster::ClosedError
      nil
    end
    50.times { |i| pubsub.call("SUBSCRIBE", "#{@name}:#{i}") }
    eventually { seen.length == 51 }
    refute_includes seen, nil
    pubsub.close
    assert thread.join(5)
  end

  def test_second_reader_is_refused_at_once
    with_pubsub do |pubsub|
      pubsub.call("SUBSCRIBE", @name)
      pubsub.next_event(5)
      thread = Thread.new { pubsub.next_event }
      eventually { thread.stop? }
      Timeout.timeout(5) do
        [nil, 0, 0.1].each do |timeout|
          error = assert_raises(RedisCluster::SubscriptionError) { pubsub.next_event(timeout) }
          assert_match(/next_event of this PubSub runs in another thread or fiber/, error.message)
        end
      end
      @rc.publish(@name, "x")
      assert_equal ["message", @name, "x"], thread.value
      assert_nil pubsub.next_event(0)
      # An interrupted call is no reader any more.
      assert_raises(Timeout::Error) { Timeout.timeout(0.01) { pubsub.next_event } }
      assert_nil pubsub.next_event(0)
    end
  end

  def test_timeout_is_a_number_of_seconds
    with_pubsub do |pubsub|
      pubsub.call("SUBSCRIBE", @name)
      ["x", "1", [], true, Complex(1, 1)].each do |timeout|
        error = assert_raises(TypeError) { pubsub.next_event(timeout) }
        expected = "timeout must be a number of seconds, or nil to wait without a limit, not #{timeout.inspect}"
        assert_equal expected, error.message
      end
      error = assert_raises(ArgumentError) { pubsub.next_event(Float::NAN) }
      assert_match(/\Atimeout must not be NaN: /, error.message)
      assert_equal ["subscribe", @name, 1], pubsub.next_event(Float::INFINITY)
      [-1, -Float::INFINITY, Rational(1, 1000)].each { |timeout| assert_nil pubsub.next_event(timeout) }
      [Float::INFINITY, 1e308].each do |timeout|
        @rc.publish(@name, "x")
        assert_equal "x", pubsub.next_event(timeout).last
      end
    end
    error = assert_raises(TypeError) { @rc.subscribe_with_timeout("x", @name) { nil } }
    assert_match(/\Atimeout must be /, error.message)
  end

  def test_interrupted_wait_loses_nothing
    with_pubsub do |pubsub|
      pubsub.call("SUBSCRIBE", @name)
      pubsub.next_event(5)
      20.times do |i|
        thread = Thread.new do
          Timeout.timeout(0.003 * (i % 3) + 0.001) { pubsub.next_event }
        rescue Timeout::Error
          nil
        end
        sleep 0.002
        @rc.publish(@name, i)
        event = thread.value || pubsub.next_event(5)
        assert_equal i.to_s, event.last
      end
    end
  end

  def test_handler_of_a_signal_runs_during_the_wait
    script = <<~RUBY
      require "rediscluster"
      pubsub = RedisCluster.new(ENV["RDC_URL"]).pubsub
      pubsub.call("SUBSCRIBE", "ruby:signal")
      pubsub.next_event(5)
      trap("USR1") { puts "handled" }
      trap("USR2") { raise IndexError, "raised" }
      Process.detach(spawn("sleep 0.2; kill -USR1 \#{$$}; sleep 0.2; kill -USR2 \#{$$}"))
      begin
        pubsub.next_event
      rescue IndexError => e
        puts e.message
      end
    RUBY
    output, status = run_ruby(script)
    assert_equal ["handled\nraised\n", true], [output, status.success?]
  end

  def test_fibers_wait_by_the_descriptor
    skip "Ruby #{RUBY_VERSION} has no Fiber.current_scheduler" unless Fiber.respond_to?(:current_scheduler)
    seen = []
    Thread.new do
      Fiber.set_scheduler(FiberScheduler.new)
      3.times do |i|
        Fiber.schedule do
          @rc.subscribe("#{@name}:fiber:#{i}") do |on|
            on.message do |channel, message|
              seen << [channel, message]
              @rc.unsubscribe
            end
          end
        end
      end
      Fiber.schedule do
        3.times do |i|
          sleep 0.005 until subscribers("#{@name}:fiber:#{i}") == 1
          @rc.publish("#{@name}:fiber:#{i}", i)
        end
        with_pubsub do |pubsub|
          pubsub.call("SUBSCRIBE", @name)
          seen << pubsub.next_event(5).first << pubsub.next_event(0.05)
        end
      end
    end.join
    expected = Array.new(3) { |i| ["#{@name}:fiber:#{i}", i.to_s] }
    assert_equal expected, seen.grep(Array).sort
    assert_equal ["subscribe", nil], seen.grep_v(Array)
  end

  def test_memory_of_messages_and_subscribers_is_freed
    payload = "x" * 1000
    round = lambda do |_|
      10.times do
        with_pubsub do |pubsub|
          pubsub.call("SSUBSCRIBE", @name)
          pubsub.next_event(5)
          @rc.pipelined { |p| 200.times { p.spublish(@name, payload) } }
          150.times { assert_equal payload, pubsub.next_event(5).last } # the others are dropped
        end
      end
      GC.start
      File.read("/proc/self/status")[/VmRSS:\s+(\d+)/, 1].to_i
    end
    before = Array.new(3, &round).max
    # Each round has 2 MB of messages.
    after = Array.new(6, &round).min
    assert_operator after - before, :<, 4_000, "KiB"
  end

  def test_killed_primary_is_a_gap_before_the_next_message
    ctl("wait-sync")
    port = ctl("primary-of", "key:#{@name}").first
    gaps = []
    messages = []
    thread = Thread.new do
      @rc.ssubscribe(@name) do |on|
        on.gap { |*values| gaps << values }
        on.smessage do |_, message|
          messages << [message, gaps.length]
          @rc.sunsubscribe
        end
      end
    end
    eventually { @rc.call("PUBSUB", "SHARDNUMSUB", @name)[1] == 1 }
    ctl("kill", port)
    begin
      eventually { !gaps.empty? || !thread.alive? }
      channel, reason, node, kind = gaps.first
      assert_equal [@name, "smessage"], [channel, kind]
      assert_match(/\A127.0.0.1:\d+\z/, node)
      refute_empty reason
      eventually do
        sleep 0.02
        @rc.spublish(@name, "after")
        messages.any?
      rescue RedisCluster::Error
        nil
      end
      thread.join
      assert_equal "after", messages.first.first
      assert_operator messages.first.last, :>, 0
    ensure
      ctl("restart", port)
      ctl("wait-healthy")
    end
  end
end
