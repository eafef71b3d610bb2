# frozen_string_literal: true

class RedisCluster
  # Commands to be sent together: what pipelined and multi give their blocks. Appending sends nothing and gives nil.
  # Encoded in one buffer, so that any number of commands crosses to the library in one call.
  class Pipeline
    include Commands

    def initialize
      @resp = String.new(encoding: Encoding::BINARY)
      @replies = []
    end

    # Any command, as in RedisCluster#call.
    def call(*args, **options)
      run(args, options, nil)
    end

    # How many commands have been appended.
    def length
      @replies.length
    end

    private

    def run(args, options, reply)
      Convert.encode(args, options, @resp)
      @replies << reply
      nil
    end

    def execute(how, handle, exception)
      return [] if @replies.empty?

      values = Convert.reply { sent(how, handle) }
      raise values if values.is_a?(Error)

      values.each_with_index do |value, i|
        if value.is_a?(Error)
          raise value if exception
        elsif (reply = @replies[i])
          values[i] = reply.call(value)
        end
      end
    end

    def sent(how, handle)
      pipeline = Native.rdc_pipeline_new(handle)
      Native.rdc_pipeline_resp(pipeline, @resp, @resp.bytesize)
      Native.public_send(how, pipeline)
    ensure
      Native.rdc_pipeline_free(pipeline)
    end
  end
end
