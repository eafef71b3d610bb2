# frozen_string_literal: true

class RedisCluster
  # A list of commands to send together: the argument of the blocks of pipelined and multi. Appending a command sends
  # nothing and returns its Future.
  class Pipeline < PipelineBuffer
    include Commands
    include CallForms
    include Dispatch

    # So that code for a client also runs in a pipeline.
    def pipelined
      yield self
    end

    # Raises InvalidError: a transaction is not part of a pipeline, and not of another transaction.
    def multi(*)
      message = "INVALID multi is inside a pipeline or a transaction: call it on the client"
      raise InvalidError.new(message, code: "INVALID")
    end

    # The result of the command at this position. Raises FutureNotReady without results.
    def result(index)
      raise FutureNotReady unless @results

      @results.fetch(index)
    end

    private

    def refuse
      raise InvalidError.new("INVALID the pipeline was executed: append commands inside the block", code: "INVALID")
    end

    def execute(atomic, queue, exception)
      values = length.zero? ? [] : send_all(atomic, queue)
      raise values if values.is_a?(Error)

      convert_all(values, conversions, exception) unless plain?
      # The caller may change the array.
      @results = values.dup
      values
    end

    def convert_all(values, conversions, exception)
      values.each_with_index do |value, i|
        conversion = conversions && conversions[i]
        values[i] = convert(value, conversion, exception) if conversion || value.is_a?(Error)
      end
    end

    # Returns the result for a reply, or raises it if it is an error. Without exception, a failed conversion is a
    # result too, so that the results of the other commands are not lost.
    def convert(value, conversion, exception)
      raise value if exception && value.is_a?(Error)

      conversion && !value.is_a?(Error) ? conversion.call(value) : value
    rescue StandardError => e
      raise if exception

      e
    end

    def send_all(atomic, queue)
      return execute_now(atomic) unless queue

      queue.call do |native, tag|
        pipeline = FFI::Pointer.new(take_address)
        begin
          submit = atomic ? :rdc_queue_pipeline_atomic : :rdc_queue_pipeline
          Native.public_send(submit, native, tag, pipeline)
        ensure
          Native.rdc_pipeline_free(pipeline)
        end
      end
    end
  end
end
