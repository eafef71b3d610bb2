# frozen_string_literal: true

class RedisCluster
  # A list of commands to send together: the argument of the blocks of pipelined and multi. Appending a command sends
  # nothing and returns nil. The commands are encoded in one buffer, which is passed to the library in one call.
  class Pipeline
    include Commands

    def initialize
      @resp = String.new(encoding: Encoding::BINARY)
      @conversions = []
    end

    # Appends any command, as in RedisCluster#call.
    def call(*args, **options)
      run(args, options, nil)
    end

    # The number of appended commands.
    def length
      @conversions.length
    end

    private

    def run(args, options, convert)
      Convert.encode(args, options, @resp)
      @conversions << convert
      nil
    end

    def execute(function, handle, exception)
      return [] if @conversions.empty?

      values = Convert.reply { send_all(function, handle) }
      raise values if values.is_a?(Error)

      values.each_with_index do |value, i|
        if value.is_a?(Error)
          raise value if exception
        elsif (convert = @conversions[i])
          values[i] = convert.call(value)
        end
      end
    end

    def send_all(function, handle)
      pipeline = Native.rdc_pipeline_new(handle)
      Native.rdc_pipeline_resp(pipeline, @resp, @resp.bytesize)
      Native.public_send(function, pipeline)
    ensure
      Native.rdc_pipeline_free(pipeline)
    end
  end
end
