# frozen_string_literal: true

class RedisCluster
  # The value of a future before its pipeline was executed.
  class FutureNotReady < RuntimeError
    def initialize(message = "the value is there when the pipeline has been executed: read it after the block")
      super
    end
  end

  # What a Future refers to, where there is no C extension.
  class RubyFuture
    def initialize(pipeline, index)
      @pipeline = pipeline
      @index = index
    end

    private

    attr_reader :pipeline, :index
  end

  # The result of a command in a pipeline or a transaction.
  #
  #     name = nil
  #     client.pipelined { |p| name = p.get("name") }
  #     name.value # => "bar"
  class Future < (EXTENSION ? EXTENSION::Future : RubyFuture)
    # The result. With exception: false, it may be an error. Raises FutureNotReady if the block of the pipeline has not
    # ended, or has raised.
    def value
      pipeline.result(index)
    end

    def inspect
      "#<#{self.class} of command #{index + 1}>"
    end
  end
end
