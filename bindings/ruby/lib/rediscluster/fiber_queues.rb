# frozen_string_literal: true

class RedisCluster
  # The queues of a client: one for each thread that has a fiber scheduler.
  class FiberQueues
    # Whether the current fiber must not block its thread. Ruby has schedulers since 3.0, and this method since 3.1.
    def self.scheduler
      Fiber.current_scheduler if Fiber.respond_to?(:current_scheduler)
    end

    # Runs a block that waits without a queue. In a fiber that must not block its thread, it runs in another thread.
    def self.off_thread(&block)
      return yield unless scheduler

      thread = Thread.new do
        Thread.current.report_on_exception = false
        block.call
      end
      begin
        thread.value
      ensure
        # Ends the call if this fiber is interrupted.
        thread.kill
      end
    end

    def initialize(handle)
      @handle = handle
      @queues = {}.compare_by_identity
      @lock = Thread::Mutex.new
    end

    # The queue for the current fiber, or nil if the fiber may block its thread.
    def current
      scheduler = FiberQueues.scheduler
      return unless scheduler

      @lock.synchronize do
        queue = @queues[Thread.current]
        queue&.usable?(scheduler) ? queue : create(scheduler)
      end
    rescue ThreadError
      # A handler of trap, which can take no lock, and whose fiber must not wait.
      nil
    end

    # Closes the queue of this thread. The library closes the queues of other threads when the client is collected.
    def close
      @lock.synchronize { @queues.delete(Thread.current) }&.close
    rescue ThreadError
      nil
    end

    private

    def create(scheduler)
      @queues.select! { |thread, _| thread.alive? }
      @queues[Thread.current] = FiberQueue.new(@handle, scheduler)
    end
  end
end
