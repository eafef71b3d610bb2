# frozen_string_literal: true

require "io/wait"

class RedisCluster
  # The messages of channels, patterns and sharded channels, with the methods of redis-client's PubSub. It follows the
  # cluster by itself: when a slot moves or a node fails, it subscribes again, and announces a gap if messages may have
  # been missed.
  #
  # One thread or fiber at a time calls `next_event`. Other threads may call `call`, `wake` and `close` meanwhile. Under a
  # fiber scheduler, a waiting fiber lets the other fibers of its thread run.
  class PubSub
    FOREVER = -1
    LONGEST = (1 << 31) - 1
    # rdc_reply_int() of the error of a lost connection. It is no event: the gaps of its channels are.
    SUBSCRIBED_AGAIN = 1

    def initialize(handle)
      @subscriber = Native::Subscriber.new(Native.rdc_subscriber_new(handle))
      @out = FFI::MemoryPointer.new(:int64, 2)
      # Events that were received, and not returned because the thread was interrupted.
      @events = []
      @woken = false
      # The thread that uses the library's subscriber, and how many others have woken it to use it.
      @lock = Thread::Mutex.new
      @others = 0
      # The thread or fiber that is in next_event. It does not hold the lock above all the time.
      @turn = Thread::Mutex.new
      # What is freed is not woken.
      @wake_lock = Thread::Mutex.new
    end

    # Runs SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE or one of their UN-, without waiting. Their confirmations are events.
    def call(*args)
      result = exclusively do
        check_open
        Convert.reply { Convert.argv(args) { |*argv| Native.rdc_subscriber_command(@subscriber, *argv) } }
      end
      raise result if result.is_a?(Error)

      nil
    end

    def call_v(command)
      call(*command)
    end

    # The next event, or nil after the timeout in seconds, or after `wake`. Without a timeout, waits without a limit.
    #
    #     ["message", channel, payload], ["pmessage", pattern, channel, payload], ["smessage", channel, payload]
    #     ["subscribe", channel, count] and so on: a subscription was confirmed
    #     ["gap", kind, channel_or_pattern, reason, node]: messages of this kind may have been missed until now
    #
    # Raises an error if something is broken. Calling it again goes on. Raises a SubscriptionError, at once, while another
    # thread or fiber is in this method.
    def next_event(timeout = nil)
      timeout = time_limit(timeout)
      event = in_turn { receive(timeout && now + timeout) }
      raise event if event.is_a?(Error)

      event
    end

    # Makes next_event return nil. Any thread may call it, and a handler of trap.
    def wake
      @woken = true
      wake_native
    end

    # Ends the subscriptions, and next_event in another thread.
    def close
      exclusively do
        @io = nil
        @wake_lock.synchronize do
          @subscriber&.free
          @subscriber = nil
        end
      end
      nil
    end

    private

    # The timeout as a number of seconds, or nil for a wait without a limit.
    def time_limit(timeout)
      return if timeout.nil?

      expected = "a number of seconds, or nil to wait without a limit"
      unless timeout.is_a?(Numeric) && timeout.real?
        raise TypeError, "timeout must be #{expected}, not #{timeout.inspect}"
      end
      raise ArgumentError, "timeout must not be NaN: pass #{expected}" if timeout.respond_to?(:nan?) && timeout.nan?

      timeout unless timeout.infinite? == 1
    end

    # A second reader would wait for the lock until the first has an event, past its own timeout.
    def in_turn
      is_nested = @turn.owned? # in a handler of trap
      if is_nested || !@turn.try_lock
        raise SubscriptionError, "next_event of this PubSub runs in another thread or fiber: make a PubSub for each"
      end

      yield
    ensure
      @turn.unlock if @turn.owned? && !is_nested
    end

    # The next event or error, or nil at the deadline or after `wake`.
    def receive(deadline)
      loop do
        take(0)
        break unless @events.empty?

        left = deadline && deadline - now
        break if @woken || (left && left <= 0)

        wait(left)
      end
      @woken = false
      @events.shift
    end

    def check_open
      raise ClosedError.new("CLOSED the PubSub was closed", code: "CLOSED") unless @subscriber
    end

    def wake_native
      @wake_lock.synchronize { Native.rdc_subscriber_wake(@subscriber) if @subscriber }
    rescue ThreadError
      # A handler of trap, which can take no lock.
      Native.rdc_subscriber_wake(@subscriber) if @subscriber
    end

    # Ends the wait of another thread for as long as the block runs.
    def exclusively
      @others += 1
      unless @lock.try_lock
        wake_native
        @lock.lock
      end
      yield
    ensure
      @others -= 1
      @lock.unlock if @lock.owned?
    end

    # Waits until there may be an event.
    def wait(left)
      Thread.pass while @others.positive?
      return wait_by_descriptor(left) if FiberQueues.scheduler

      take(left ? [left * 1000, LONGEST].min.ceil : FOREVER)
    end

    def wait_by_descriptor(left)
      # The library closes it.
      @io ||= IO.for_fd(Native.rdc_subscriber_fd(@subscriber), autoclose: false)
      @io.wait_readable(left)
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    # Takes one event from the library, if there is one within this time. It is stored before an exception of a handler
    # or of another thread is raised.
    def take(milliseconds)
      native = milliseconds.zero? ? Native::KeepingLock : Native.waiting
      interrupted = @lock.synchronize do
        check_open
        WaitCallback.defer_interrupts { store(native.rdc_subscriber_next(@subscriber, milliseconds)) }
      end
      raise interrupted if interrupted
    end

    # Returns the error of an interrupted call: it is no event.
    def store(reply)
      event = Convert.value(reply, @out)
      return event if event.is_a?(InterruptedError)

      is_loss = event.is_a?(Error) && Native.rdc_reply_int(reply) == SUBSCRIBED_AGAIN
      @events << event unless event.nil? || is_loss
      nil
    ensure
      Native.rdc_reply_free(reply)
    end
  end
end
