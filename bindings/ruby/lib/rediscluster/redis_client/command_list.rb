# frozen_string_literal: true

class RedisCluster
  class Client
    # The argument of the blocks of pipelined and multi, as in redis-client.
    class CommandList
      include CallForms

      attr_reader :commands

      def initialize
        @commands = []
        @blocks = []
      end

      def call(*command, **options, &block)
        @commands << RedisClient::CommandBuilder.generate(command, options)
        @blocks << block
        nil
      end

      def empty?
        @commands.empty?
      end

      def append_to(pipeline)
        @commands.zip(@blocks) { |command, block| pipeline.call(*command, &block) }
      end
    end
  end
end
