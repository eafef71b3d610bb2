# frozen_string_literal: true

class RedisCluster
  # A list of commands to send together: the argument of the blocks of pipelined and multi. Appending a command sends
  # nothing and returns nil. The commands are encoded in one buffer, which is passed to the library in one call.
  class Pipeline
    include Commands

    def initialize
      @resp = String.new(encoding: Encoding::BINARY)
      @conversions = []
      # The results of commands that are not sent, with their positions.
      @own_results = []
    end

    # Appends any command, as in RedisCluster#call.
    def call(*args, **options)
      run(args, options, nil)
    end

    # The number of appended commands.
    def length
      @conversions.length + @own_results.length
    end

    private

    def run(args, options, convert)
      Convert.encode(args, options, @resp)
      @conversions << convert
      nil
    end

    def respond(result)
      @own_results << [length, result]
      nil
    end

    def execute(atomic, handle, queue, exception)
      values = @conversions.empty? ? [] : send_all(atomic, handle, queue)
      raise values if values.is_a?(Error)

      values.each_with_index do |value, i|
        conversion = @conversions[i]
        values[i] = convert(value, conversion, exception) if conversion || value.is_a?(Error)
      end
      @own_results.each { |position, result| values.insert(position, result) }
      values
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

    def send_all(atomic, handle, queue)
      if queue
        submit = atomic ? :rdc_queue_pipeline_atomic : :rdc_queue_pipeline
        queue.call do |native, tag|
          with_native(handle) { |pipeline| Native.public_send(submit, native, tag, pipeline) }
        end
      else
        run = atomic ? :rdc_pipeline_execute_atomic : :rdc_pipeline_execute
        Convert.reply { with_native(handle) { |pipeline| Native.waiting.public_send(run, pipeline) } }
      end
    end

    def with_native(handle)
      pipeline = Native.rdc_pipeline_new(handle)
      Native.rdc_pipeline_resp(pipeline, @resp, @resp.bytesize)
      yield pipeline
    ensure
      Native.rdc_pipeline_free(pipeline)
    end
  end
end
