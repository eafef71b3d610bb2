# frozen_string_literal: true

class RedisCluster
  # The functions of the library that may wait, by the C extension. It releases Ruby's lock if other threads need it.
  # Interrupts are masked: see WaitCallback.
  module Waiting
    module_function

    def rdc_create_with(options)
      FFI::Pointer.new(EXTENSION.rdc_create_with(options.address))
    end

    def rdc_command_resp(client, resp, _length)
      FFI::Pointer.new(EXTENSION.rdc_command_resp(client.address, resp))
    end

    def rdc_refresh(client)
      FFI::Pointer.new(EXTENSION.rdc_refresh(client.address))
    end

    def rdc_subscriber_next(subscriber, milliseconds)
      FFI::Pointer.new(EXTENSION.rdc_subscriber_next(subscriber.address, milliseconds))
    end

    def rdc_command_to(client, target, count, arguments, lengths)
      reply = EXTENSION.rdc_command_to(client.address, target, count, arguments.address, lengths.address)
      FFI::Pointer.new(reply)
    end
  end
end
