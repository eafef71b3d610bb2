# frozen_string_literal: true

require "io/wait"

class RedisCluster
  # The commands of the fibers of one scheduler. A fiber that waits for its reply lets the other fibers of its thread
  # run.
  #
  # While commands are in flight, one more fiber, the driver, waits for the descriptor of the library's queue. It takes
  # the complete replies, and wakes the fibers that they are for. A fiber that waits is interrupted, by a timeout or
  # otherwise, without an effect on the others.
  class FiberQueue
    # A call in progress: its fiber; whether the scheduler has to be told to wake it; and, when it is complete, its
    # result or the exception of the conversion.
    Call = Struct.new(:fiber, :blocked, :complete, :value, :failure)

    def initialize(handle, scheduler)
      @scheduler = scheduler
      @pid = Process.pid
      @queue = Native::Queue.new(Native.rdc_queue_new(handle))
      descriptor = Native.rdc_queue_fd(@queue)
      # The queue closes it. Without one, each command completes at once, with an error.
      @io = IO.for_fd(descriptor, autoclose: false) unless descriptor.negative?
      @calls = {}
      @last_tag = 0
      @driven = false
      @tag = FFI::MemoryPointer.new(:uint64)
      @out = FFI::MemoryPointer.new(:int64, 2)
    end

    # Whether fibers of this scheduler can use the queue. A forked child must not use its parent's.
    def usable?(scheduler)
      !@io.nil? && @scheduler.equal?(scheduler) && @pid == Process.pid
    end

    # Closes the connections and the descriptor, unless a fiber waits for a reply.
    def close
      @queue.free unless @driven
    end

    # The result of the command that the block submits to the queue with a tag. If the fiber is interrupted while it
    # waits, the command is cancelled.
    def call
      tag = @last_tag += 1
      call = Call.new(Fiber.current)
      WaitCallback.mask_interrupts do
        yield @queue, tag
        @calls[tag] = call
      end
      begin
        wait(call) until call.complete
      ensure
        cancel(tag) unless call.complete
      end
      raise call.failure if call.failure

      call.value
    end

    private

    def wait(call)
      Fiber.schedule { drive } unless @driven
      return if call.complete

      call.blocked = true
      @scheduler.block(self, nil)
    ensure
      call.blocked = false
    end

    # Commands that other fibers submit before the scheduler next polls the descriptor are sent together.
    def drive
      return if @driven # A scheduler may start a scheduled fiber later.

      @driven = true
      until @calls.empty?
        @io&.wait_readable
        WaitCallback.mask_interrupts do
          Native.rdc_queue_run(@queue, 0)
          take_replies
        end
      end
    ensure
      # If the scheduler has stopped this fiber only, one of the waiting fibers starts another driver.
      @driven = false
      @calls.each_value.find { |call| wake(call) }
    end

    # A fiber that is woken must not be woken again before it has run: it may then wait for something else.
    def wake(call)
      return false unless call.blocked

      call.blocked = false
      @scheduler.unblock(self, call.fiber)
      true
    end

    def take_replies
      until (reply = Native.rdc_queue_next(@queue, @tag)).null?
        # Without a call, its fiber was interrupted.
        call = @calls.delete(@tag.read_uint64)
        complete(call, reply) if call
        Native.rdc_reply_free(reply)
      end
    end

    def complete(call, reply)
      call.value = Convert.value(reply, @out)
    rescue StandardError => e
      call.failure = e
    ensure
      call.complete = true
      wake(call)
    end

    # The reply is complete then, and the driver frees it.
    def cancel(tag)
      WaitCallback.mask_interrupts do
        @calls.delete(tag)
        Native.rdc_queue_cancel(@queue, tag)
        take_replies unless @driven
      end
    end
  end
end
