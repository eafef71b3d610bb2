# frozen_string_literal: true

require "ffi"

class RedisCluster
  # The declarations of the functions of include/rediscluster.h that this binding uses. A test compares them with
  # the header.
  #
  # ffi instead of Fiddle: a call costs 0.2 us instead of 1.7 us. By default ffi holds Ruby's lock during a call.
  # Functions that may wait for a server are declared `blocking`, so that other threads run meanwhile. Without other
  # threads, they are called from KeepingLock: see there.
  module Native
    extend FFI::Library

    # The library at RDC_LIBRARY if it is set; else the library in the gem, if the gem is of this platform; else the
    # system's library, by the soname of the ABI that this binding is written for.
    SONAME = FFI::Platform.mac? ? "librediscluster.0.dylib" : "librediscluster.so.0"
    BUNDLED = File.expand_path(SONAME, __dir__)
    ffi_lib ENV.fetch("RDC_LIBRARY") { File.exist?(BUNDLED) ? BUNDLED : SONAME }

    # The first version that has all functions below, as a number of rdc_version_number().
    MIN_VERSION = 1_000

    FUNCTIONS = {
      # These may wait for a server.
      rdc_create_with: [[:pointer], :pointer, :blocking],
      rdc_command_resp: [%i[pointer buffer_in size_t], :pointer, :blocking],
      rdc_command_to: [%i[pointer string size_t pointer pointer], :pointer, :blocking],
      rdc_pipeline_execute: [[:pointer], :pointer, :blocking],
      rdc_pipeline_execute_atomic: [[:pointer], :pointer, :blocking],
      rdc_refresh: [[:pointer], :pointer, :blocking],
      rdc_subscriber_next: [%i[pointer int32], :pointer, :blocking],

      # These return at once, without network I/O.
      rdc_options_new: [[], :pointer],
      rdc_options_set: [%i[pointer string string], :int32],
      rdc_options_free: [[:pointer], :void],
      rdc_client_error: [[:pointer], :string],
      rdc_with: [%i[pointer string string], :pointer],
      rdc_pin: [%i[pointer buffer_in size_t], :pointer],
      rdc_set_credentials: [%i[pointer string string], :int32],
      rdc_close: [[:pointer], :void],
      rdc_pipeline_new: [[:pointer], :pointer],
      rdc_pipeline_resp: [%i[pointer buffer_in size_t], :void],
      rdc_pipeline_free: [[:pointer], :void],
      rdc_queue_new: [[:pointer], :pointer],
      rdc_queue_resp: [%i[pointer uint64 buffer_in size_t], :void],
      rdc_queue_command_to: [%i[pointer uint64 string size_t pointer pointer], :void],
      rdc_queue_pipeline: [%i[pointer uint64 pointer], :void],
      rdc_queue_pipeline_atomic: [%i[pointer uint64 pointer], :void],
      rdc_queue_fd: [[:pointer], :int32],
      # Called with a timeout of 0 only, so it does not wait.
      rdc_queue_run: [%i[pointer int32], :int32],
      rdc_queue_next: [%i[pointer pointer], :pointer],
      rdc_queue_cancel: [%i[pointer uint64], :void],
      rdc_queue_free: [[:pointer], :void],
      rdc_subscriber_new: [[:pointer], :pointer],
      rdc_subscriber_command: [%i[pointer size_t pointer pointer], :pointer],
      rdc_subscriber_wake: [[:pointer], :void],
      rdc_subscriber_fd: [[:pointer], :int32],
      rdc_subscriber_free: [[:pointer], :void],
      rdc_reply_read: [%i[pointer pointer pointer], :int32],
      rdc_reply_read_array: [%i[pointer size_t size_t pointer pointer pointer], :size_t],
      rdc_reply_at: [%i[pointer size_t], :pointer],
      rdc_reply_int: [[:pointer], :int64],
      rdc_reply_double: [[:pointer], :double],
      rdc_reply_error: [[:pointer], :int32],
      rdc_reply_node: [[:pointer], :string],
      rdc_reply_sent: [[:pointer], :int32],
      rdc_reply_free: [[:pointer], :int32],
      rdc_topology: [[:pointer], :pointer],
      rdc_stats: [[:pointer], :pointer],
      rdc_explain: [%i[pointer size_t pointer pointer], :pointer],
      rdc_key_slot: [%i[buffer_in size_t], :int32],
      rdc_set_logger: [%i[pointer pointer int32], :void],
      rdc_set_wait_callback: [%i[pointer pointer], :void],
      rdc_error_name: [[:int32], :string],
      rdc_version: [[], :string],
      rdc_version_number: [[], :int32]
    }.freeze

    FUNCTIONS.each do |name, (arguments, result, blocking)|
      attach_function name, arguments, result, blocking: !blocking.nil?
    end

    # The functions that may wait, declared so that the thread keeps Ruby's lock, also in its wait callback.
    #
    # A thread that gives the lock up takes it for the callback, and gives it up again behind it. At that moment,
    # outside of all Ruby code, Ruby runs the due handlers of trap. One that raises, such as the default handler of
    # Ctrl-C, would unwind the library's stack frames: a connection would be lost, and a refresh or a batch of commands
    # in progress would never end. A thread that keeps the lock has no such moment.
    module KeepingLock
      extend FFI::Library
      ffi_lib(*Native.ffi_libraries.map(&:name))

      FUNCTIONS.each do |name, (arguments, result, blocking)|
        attach_function name, arguments, result if blocking
      end
    end

    # A thread of ffi, which sleeps unless another library calls back from a thread of its own.
    DISPATCHER = "FFI Callback Dispatcher"

    # The module to call functions from that may wait: of the C extension, or else of ffi. Handlers run in the main
    # thread only. It keeps the lock if no other thread needs it. With other threads the moment remains: about a
    # microsecond in each 25 ms of waiting. Of 3,000 exceptions among 100,000 signals at random times, none hit it.
    def self.waiting
      return Waiting if EXTENSION

      Thread.list.one? { |thread| thread.name != DISPATCHER } ? KeepingLock : self
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

    # A client handle, closed explicitly or by the garbage collector. The library checks handles, so a call on a
    # closed handle returns an error.
    class Client < FFI::AutoPointer
      def self.release(pointer)
        Native.rdc_close(pointer)
      end
    end

    # A queue, freed explicitly or by the garbage collector.
    class Queue < FFI::AutoPointer
      def self.release(pointer)
        Native.rdc_queue_free(pointer)
      end
    end

    # A subscriber, freed explicitly or by the garbage collector.
    class Subscriber < FFI::AutoPointer
      def self.release(pointer)
        Native.rdc_subscriber_free(pointer)
      end
    end

    if rdc_version_number < MIN_VERSION
      raise LoadError, "librediscluster #{rdc_version} is too old for rediscluster #{VERSION}; install a newer version"
    end
  end
end
