# frozen_string_literal: true

class RedisCluster
  # Ctrl-C, Timeout, Thread#raise and Thread#kill while a call waits.
  #
  # While a call is inside the library they are held back, or they would come between a reply and its
  # rdc_reply_free, or unwind frames that are not Ruby's. But the library asks the thread whether to wait on: there
  # it is seen that one of them is due, the call ends, and then they take effect. Handlers of trap run there too;
  # one that raises nothing ends nothing.
  module Waiting
    # What a thread's calls have in common: memory for out-parameters, and what a trap's handler has raised.
    State = Struct.new(:out, :raised)

    HELD_BACK = { Object => :never }.freeze

    module_function

    # Calls the block with the state of this thread, and nothing between.
    def undisturbed
      Thread.handle_interrupt(HELD_BACK) do
        state = here
        value = yield state
        if (raised = state.raised)
          state.raised = nil
          raise raised
        end
        value
      end
    end

    # Thread.current[] belongs to the fiber: nobody else uses this state in the middle of a call.
    def here
      Thread.current[:rediscluster] ||= begin
        Native.rdc_set_wait_callback(QUESTION, nil)
        State.new(FFI::MemoryPointer.new(:int64, 2))
      end
    end

    # Whether this thread's call shall wait on.
    def on?
      waits = false
      begin
        # Handlers of trap run when a method ends, so when this one does.
        here
        waits = !Thread.current.pending_interrupt?
      rescue Exception => e # rubocop:disable Lint/RescueException
        here.raised = e
      ensure
        # Nor may a throw pass.
        return waits # rubocop:disable Lint/EnsureReturn
      end
    end

    # If all else fails, ffi answers with 0, which ends the call, and raises what was the matter.
    QUESTION = FFI::Function.new(:int32, [:pointer]) { |_| on? ? 1 : 0 }
  end
end
