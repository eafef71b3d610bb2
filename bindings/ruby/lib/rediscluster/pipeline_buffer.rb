# frozen_string_literal: true

class RedisCluster
  # The commands of a pipeline, where there is no C extension. They are encoded in one buffer, which is passed to the
  # library in one call.
  class RubyPipelineBuffer
    include RubyDispatch

    # The address of a client, which must live as long as the pipeline is used.
    def initialize(address)
      @client = FFI::Pointer.new(address)
      @resp = String.new(encoding: Encoding::BINARY)
      @conversions = []
      @executed = false
    end

    # The number of commands.
    def length
      @conversions.length
    end

    private

    # The conversion of each command, or nil if no command has one.
    attr_reader :conversions

    # Whether the replies are certainly the results: there are no errors, and nothing is to be converted.
    def plain?
      false
    end

    def run_encoded(args, options, convert)
      return refuse if @executed

      Convert.encode(args, options, @resp)
      @conversions << convert
      Future.new(self, @conversions.length - 1)
    end

    # Executes the commands: the replies, or the error of all.
    def execute_now(atomic)
      execute = atomic ? :rdc_pipeline_execute_atomic : :rdc_pipeline_execute
      Convert.reply do
        pipeline = FFI::Pointer.new(take_address)
        begin
          Native.waiting.public_send(execute, pipeline)
        ensure
          Native.rdc_pipeline_free(pipeline)
        end
      end
    end

    # The address of the library's pipeline, which the caller executes and frees.
    def take_address
      @executed = true
      pipeline = Native.rdc_pipeline_new(@client)
      Native.rdc_pipeline_resp(pipeline, @resp, @resp.bytesize)
      pipeline.address
    end
  end

  PipelineBuffer = EXTENSION ? EXTENSION::PipelineBuffer : RubyPipelineBuffer
end
