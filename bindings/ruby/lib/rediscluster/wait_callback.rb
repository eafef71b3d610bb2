# frozen_string_literal: true

class RedisCluster
  # Interrupts of a call that waits for a server: Ctrl-C, Timeout, Thread#raise, Thread#kill and handlers of trap.
  #
  # During a call into the library, Ruby's interrupts are deferred. Otherwise one could be raised between a reply
  # and its rdc_reply_free, or unwind stack frames that are not Ruby's. The library calls the thread's wait callback
  # while it waits. The callback runs due handlers of trap, and ends the call if an interrupt is pending. The
  # interrupt is raised after the call has returned. A handler that raises nothing does not end the call.
  #
  # The C extension has a wait callback of its own, and raises what has ended a command itself. Only its functions in
  # Waiting leave an exception to this module.
  module WaitCallback
    # Per-thread state: memory for out-parameters, and the exception that a handler of trap raised.
    State = Struct.new(:out, :raised)

    DEFER_ALL = { Object => :never }.freeze

    module_function

    # Defers the interrupts of this thread during a block that does not wait.
    def mask_interrupts(&block)
      Thread.handle_interrupt(DEFER_ALL, &block)
    end

    # Calls the block with this thread's state, with interrupts deferred until it returns.
    def defer_interrupts
      mask_interrupts do
        state = thread_state
        value = yield state
        if (raised = state.raised)
          state.raised = nil
          raise raised
        end
        value
      end
    end

    # The state of this thread, which also sets the wait callback of the thread. Thread.current[] belongs to the
    # fiber, so another fiber cannot use this state during a call.
    def thread_state
      Thread.current[:rediscluster] ||= begin
        Native.rdc_set_wait_callback(CALLBACK, nil) if CALLBACK
        State.new(FFI::MemoryPointer.new(:int64, 2))
      end
    end

    # Raises the exception when the call of this thread has returned.
    def raise_later(exception)
      thread_state.raised = exception
    end

    # Whether the call of this thread continues to wait.
    def continue?
      continue = false
      begin
        # For threads that a handler has started, or another library.
        Thread.pass
        # Ruby runs due handlers of trap when a method returns, so also when this one does.
        thread_state
        continue = !Thread.current.pending_interrupt?
      rescue Exception => e # rubocop:disable Lint/RescueException
        raise_later(e)
      ensure
        # The return also stops a throw, which must not unwind the library's stack frames.
        return continue # rubocop:disable Lint/EnsureReturn
      end
    end

    # If the block raises anyway, ffi returns 0, which ends the call, and reports the exception.
    CALLBACK = (FFI::Function.new(:int32, [:pointer]) { |_| continue? ? 1 : 0 } unless EXTENSION)
  end
end
