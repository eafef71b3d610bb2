# frozen_string_literal: true

class RedisCluster
  # A transaction on a pinned connection, which may watch keys. It is sent in one pipeline, from MULTI to EXEC.
  class PinnedTransaction < Pipeline
    def initialize(address)
      super
      call("MULTI")
    end

    # The number of appended commands.
    def length
      super - 1
    end

    def result(index)
      super(index - 1)
    end

    private

    # The results; nil if a watched key was changed, and then nothing ran.
    def execute(_atomic, queue, exception)
      return [] if length.zero?

      call("EXEC")
      replies = send_all(false, queue)
      error = replies.is_a?(Error) ? replies : replies.find { |reply| reply.is_a?(Error) }
      raise error if error
      return unless (values = replies.last)

      convert_all(values, conversions&.drop(1), exception)
      @results = values.dup
      values
    end
  end
end
