# frozen_string_literal: true

# A fiber scheduler with the hooks that Ruby 3.1 requires, for tests: IO.select, timers, and fibers that other threads
# may unblock.
class FiberScheduler
  def initialize
    @readable = {}
    @writable = {}
    # Each fiber that waits until a time, with what it gets then.
    @deadlines = {}
    @ready = []
    @lock = Thread::Mutex.new
    # Nothing else may keep these fibers from the garbage collector.
    @blocked = {}.compare_by_identity
    @urgent = IO.pipe
  end

  def run
    until @readable.empty? && @writable.empty? && @deadlines.empty? && @ready.empty? && @blocked.empty?
      readable, writable = IO.select([@urgent[0], *@readable.keys], @writable.keys, [], pause)
      @urgent[0].read_nonblock(1024, exception: false) if readable&.delete(@urgent[0])
      readable&.each { |io| @readable.delete(io)&.resume(IO::READABLE) }
      writable&.each { |io| @writable.delete(io)&.resume(IO::WRITABLE) }
      resume_due
      resume_ready
    end
  end

  def close
    run
    @urgent.each(&:close)
  end

  def fiber(&block)
    Fiber.new(blocking: false, &block).tap(&:resume)
  end

  def io_wait(io, events, timeout)
    waiting = (events & IO::READABLE).zero? ? @writable : @readable
    raise "two fibers wait for one descriptor" if waiting[io]

    waiting[io] = Fiber.current
    limited(timeout) { Fiber.yield } || 0
  ensure
    waiting.delete(io) if waiting[io].equal?(Fiber.current)
  end

  def kernel_sleep(duration = nil)
    block(:sleep, duration)
  end

  def block(_blocker, timeout = nil)
    @blocked[Fiber.current] = true
    limited(timeout) { Fiber.yield } || false
  ensure
    @blocked.delete(Fiber.current)
  end

  def unblock(_blocker, fiber)
    @lock.synchronize { @ready << fiber }
    @urgent[1].write_nonblock(".", exception: false)
  end

  def timeout_after(duration, exception, message)
    fiber = Fiber.current
    key = Object.new
    @deadlines[key] = [now + duration, -> { fiber.raise(exception, message) }]
    yield duration
  ensure
    @deadlines.delete(key)
  end

  private

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  def limited(timeout)
    return yield unless timeout

    fiber = Fiber.current
    key = Object.new
    @deadlines[key] = [now + timeout, -> { fiber.resume(nil) }]
    begin
      yield
    ensure
      @deadlines.delete(key)
    end
  end

  def pause
    return 0 unless @lock.synchronize { @ready.empty? }

    due = @deadlines.each_value.map(&:first).min
    due && [due - now, 0].max
  end

  def resume_due
    @deadlines.select { |_, (due, _)| due <= now }.each do |key, (_, action)|
      action.call if @deadlines.delete(key)
    end
  end

  def resume_ready
    fibers = @lock.synchronize { @ready.tap { @ready = [] } }
    fibers.each { |fiber| fiber.resume(true) if fiber.alive? }
  end
end
