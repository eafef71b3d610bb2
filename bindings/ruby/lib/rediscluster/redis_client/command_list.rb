# frozen_string_literal: true

class RedisCluster
  class Client
    # The argument of the blocks of pipelined and multi, as in redis-client.
    class CommandList
      attr_reader :commands

      def initialize
        @commands = []
        @blocks = []
      end

      def call(*command, **options, &block)
        add(RedisClient::CommandBuilder.generate(command, options), block)
      end

      def call_v(command, &block)
        add(RedisClient::CommandBuilder.generate(command), block)
      end

      alias call_once call
      alias call_once_v call_v

      def blocking_call(_timeout, *command, **options, &block)
        call(*command, **options, &block)
      end

      def blocking_call_v(_timeout, command, &block)
        call_v(command, &block)
      end

      def empty?
        @commands.empty?
      end

      def append_to(pipeline)
        @commands.zip(@blocks) { |command, block| pipeline.call(*command, &block) }
      end

      private

      def add(command, block)
        @commands << command
        @blocks << block
        nil
      end
    end
  end
end
