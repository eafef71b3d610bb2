# frozen_string_literal: true

class RedisCluster
  # A list of commands to send together: the argument of the blocks of pipelined and multi. Appending a command sends
  # nothing and returns nil.
  class Pipeline < PipelineBuffer
    include Commands
    include Dispatch

    # The number of appended commands.
    def length
      super + own_results.length
    end

    private

    # The results of commands that are not sent, with their positions.
    def own_results
      @own_results ||= []
    end

    def respond(result)
      own_results << [length, result]
      nil
    end

    def refuse
      raise InvalidError.new("INVALID the pipeline was executed: append commands inside the block", code: "INVALID")
    end

    def execute(atomic, queue, exception)
      values = length == own_results.length ? [] : send_all(atomic, queue)
      raise values if values.is_a?(Error)

      convert_all(values, exception) unless plain?
      @own_results.each { |position, result| values.insert(position, result) }
      values
    end

    def convert_all(values, exception)
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
