# frozen_string_literal: true

require "ffi"

class RedisCluster
  # The functions of include/rediscluster.h that this binding uses, and nothing else. A test compares each line
  # with the header.
  #
  # ffi and not Fiddle: a call costs 0.2 us instead of 1.7. Its price is that ffi keeps Ruby's lock during a
  # call unless told otherwise, so whatever may wait for a server is `blocking`: other threads run meanwhile.
  module Native
    extend FFI::Library

    # RDC_LIBRARY alone if it is set, for tests and unusual places; else the one in the gem, if it is a gem of this
    # platform; else the system's, by the soname of the ABI that was written for here.
    SONAME = "librediscluster.so.0"
    BUNDLED = File.expand_path(SONAME, __dir__)
    ffi_lib ENV.fetch("RDC_LIBRARY") { File.exist?(BUNDLED) ? BUNDLED : SONAME }

    # The first version that has all functions below, as rdc_version_number() counts.
    NEEDS = 1_000

    FUNCTIONS = {
      # Network: they wait.
      rdc_create_with: [[:pointer], :pointer, :blocking],
      rdc_command_resp: [%i[pointer buffer_in size_t], :pointer, :blocking],
      rdc_command_to: [%i[pointer string size_t pointer pointer], :pointer, :blocking],
      rdc_pipeline_execute: [[:pointer], :pointer, :blocking],
      rdc_pipeline_execute_atomic: [[:pointer], :pointer, :blocking],
      rdc_refresh: [[:pointer], :pointer, :blocking],

      # No network: they return at once.
      rdc_options_new: [[], :pointer],
      rdc_options_set: [%i[pointer string string], :int32],
      rdc_options_free: [[:pointer], :void],
      rdc_client_error: [[:pointer], :string],
      rdc_with: [%i[pointer string string], :pointer],
      rdc_pin: [%i[pointer buffer_in size_t], :pointer],
      rdc_close: [[:pointer], :void],
      rdc_pipeline_new: [[:pointer], :pointer],
      rdc_pipeline_resp: [%i[pointer buffer_in size_t], :void],
      rdc_pipeline_free: [[:pointer], :void],
      rdc_reply_read: [%i[pointer pointer pointer], :int32],
      rdc_reply_read_array: [%i[pointer size_t size_t pointer pointer pointer], :size_t],
      rdc_reply_at: [%i[pointer size_t], :pointer],
      rdc_reply_double: [[:pointer], :double],
      rdc_reply_error: [[:pointer], :int32],
      rdc_reply_node: [[:pointer], :string],
      rdc_reply_sent: [[:pointer], :int32],
      rdc_reply_free: [[:pointer], :int32],
      rdc_topology: [[:pointer], :pointer],
      rdc_stats: [[:pointer], :pointer],
      rdc_explain: [%i[pointer size_t pointer pointer], :pointer],
      rdc_key_slot: [%i[buffer_in size_t], :int32],
      rdc_set_wait_callback: [%i[pointer pointer], :void],
      rdc_error_name: [[:int32], :string],
      rdc_version: [[], :string],
      rdc_version_number: [[], :int32]
    }.freeze

    FUNCTIONS.each do |name, (arguments, result, blocking)|
      attach_function name, arguments, result, blocking: !blocking.nil?
    end

    # Reply types, as the header numbers them.
    STRING = 1
    ARRAY = 2
    INTEGER = 3
    NIL = 4
    STATUS = 5
    ERROR = 6
    DOUBLE = 7
    BOOL = 8
    MAP = 9
    SET = 10
    PUSH = 12
    BIGNUM = 13
    VERBATIM = 14

    # A client, closed when it is closed or when nothing refers to it any more. The library checks handles, so
    # calls on one that was closed are answered with an error.
    class Client < FFI::AutoPointer
      def self.release(pointer)
        Native.rdc_close(pointer)
      end
    end

    if rdc_version_number < NEEDS
      raise LoadError, "rediscluster #{VERSION} needs a newer librediscluster than #{rdc_version}"
    end
  end
end
