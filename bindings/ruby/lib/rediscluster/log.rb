# frozen_string_literal: true

require "logger"

class RedisCluster
  # The messages of the library, for a Logger. The library has one logger for the process, and calls it in the thread
  # whose call the message is about.
  module Log
    # By the library's levels: 1 error, 2 warning, 3 information, 4 debug.
    SEVERITIES = [nil, Logger::ERROR, Logger::WARN, Logger::INFO, Logger::DEBUG].freeze
    NAME = "rediscluster"

    class << self
      attr_reader :logger

      # Sends messages from the level on that the logger has now. nil turns them off.
      def logger=(logger)
        at_exit { set(0) } unless @has_exit
        # Later messages would find an interpreter that ends.
        @has_exit = true
        @logger = logger
        set(logger ? SEVERITIES.count { |severity| severity && severity >= logger.level } : 0)
      end

      # Called by the library, so nothing may be raised here. A broken logger fails no command. What a handler of trap
      # raises ends the call that the thread is in.
      def deliver(level, message)
        WaitCallback.mask_interrupts do
          @logger&.add(SEVERITIES[level], message.dup.force_encoding(Encoding::UTF_8), NAME)
        end
      rescue StandardError
        nil
      rescue Exception => e # rubocop:disable Lint/RescueException
        WaitCallback.raise_later(e) unless EXTENSION&.end_call(e)
      ensure
        # The return also stops a throw, which must not unwind the library's stack frames.
        return # rubocop:disable Lint/EnsureReturn
      end

      private

      # The level is a count of SEVERITIES, and the library's number at the same time.
      def set(level)
        return EXTENSION.set_logger(self, level) if EXTENSION

        Native.rdc_set_logger(level.zero? ? nil : CALLBACK, nil, level)
      end
    end

    unless EXTENSION
      CALLBACK = FFI::Function.new(:void, %i[pointer int32 string]) { |_, level, message| deliver(level, message) }
    end
  end
end
