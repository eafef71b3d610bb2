# frozen_string_literal: true

class RedisCluster
  # The base class of all errors that the library and the servers report. A wrong Ruby argument (neither text nor
  # number) raises TypeError or ArgumentError as usual.
  class Error < StandardError
    # The name of the error: "TIMEOUT", "READONLY" ...; for a CommandError, the server's error code: "WRONGTYPE".
    attr_reader :code
    # "host:port" of the node that the error concerns, or nil.
    attr_reader :node

    def initialize(message = nil, code: nil, node: nil, sent: false)
      super(message)
      @code = code
      @node = node
      @sent = sent
    end

    # false: the command did not run, so sending it again is safe. true: it ran or may have run.
    def sent?
      @sent
    end
  end

  # The server replied with an error.
  class CommandError < Error; end
  # The command does not fit the type of the key's value.
  class WrongTypeError < CommandError; end
  # The server has no memory for a write.
  class OutOfMemoryError < CommandError; end
  # The server refused the credentials, or they lack a permission.
  class AuthenticationError < CommandError; end
  # The user lacks a permission.
  class PermissionError < AuthenticationError; end
  # CLUSTERDOWN, or no node serves the slot.
  class ClusterDownError < CommandError; end

  # A bad argument, option or URL; nothing was sent.
  class InvalidError < Error; end
  # The keys are in different slots; nothing was sent.
  class CrossSlotError < Error; end
  # A write through a read-only client; nothing was sent.
  class ReadonlyError < Error; end
  # The client was closed.
  class ClosedError < Error; end

  # The connection broke.
  class ConnectionError < Error; end
  # No node could be reached; nothing was sent.
  class CannotConnectError < ConnectionError; end
  # The client or the node rejected a certificate, or the TLS session failed.
  class TLSError < ConnectionError; end
  # The timeout of the call passed.
  class TimeoutError < ConnectionError; end

  # The peer sent something other than RESP, or exceeded a limit.
  class ProtocolError < Error; end
  # More than max_redirects redirections.
  class RedirectsError < Error; end
  # The call was interrupted, and no exception could be raised instead.
  class InterruptedError < Error; end
  # The queue of the fibers has queue_limit commands already; nothing was sent.
  class QueueFullError < Error; end
  # A method that needs a subscription was called without one, a second subscription was begun inside another one, or two
  # threads read the events of one PubSub.
  class SubscriptionError < Error; end
  # A bug in the library, caught at the C interface.
  class InternalError < Error; end

  # The names that redis-rb has for these.
  BaseError = Error
  BaseConnectionError = ConnectionError
  ReadOnlyError = ReadonlyError
  InvalidClientOptionError = InvalidError

  class Error
    # The codes RDC_ERR_... of the header. An unknown code, from a later library, is an Error.
    CLASSES = {
      1 => CommandError,
      2 => InvalidError,
      3 => CannotConnectError,
      4 => ConnectionError,
      5 => TimeoutError,
      6 => ProtocolError,
      7 => AuthenticationError,
      8 => ClusterDownError,
      9 => CrossSlotError,
      10 => RedirectsError,
      11 => ReadonlyError,
      12 => InterruptedError,
      13 => InternalError,
      14 => ClosedError,
      15 => TLSError,
      16 => QueueFullError
    }.freeze

    # The numbers of errors whose messages begin with a server's error code.
    OF_SERVER = [1, 7].freeze

    # Classes of error codes of servers.
    OF_SERVERS = { "WRONGTYPE" => WrongTypeError, "OOM" => OutOfMemoryError, "NOPERM" => PermissionError }.freeze

    # The methods for functions of the library that its messages name.
    METHODS = {
      "rdc_command_to()" => "call_to", "a handle from rdc_pin()" => "pin(key)", "rdc_with()" => "with",
      "(rdc_subscriber_new)" => "(subscribe or pubsub)",
      "for a handle of another database" => "for a client of another database"
    }.freeze

    # The prefix of the message of an error in a pipeline, which names the command.
    PIPELINE_PREFIX = /\ACommand # \d+ \(.*?\) of pipeline: /m

    # The exception for a client that could not be created. The message begins with the name of its code.
    def self.of_creation(message)
      code = message[/\A\S+/]
      kind = CLASSES.find { |number, _| Native.rdc_error_name(number) == code }&.last || Error
      kind.new(message, code: code)
    end

    # The exception for an error with the number of its code.
    def self.build(number, message, node, sent)
      return of_server(number, message, node, sent) if OF_SERVER.include?(number)

      kind = CLASSES.fetch(number, Error)
      message = message.gsub(Regexp.union(METHODS.keys), METHODS) if kind == InvalidError
      kind.new(message, code: Native.rdc_error_name(number), node: node, sent: sent)
    end

    # The exception for an error that a server has replied with.
    def self.of_server(number, message, node, sent)
      text = message.sub(PIPELINE_PREFIX, "")
      code = text[/\A\S+/]
      kind = OF_SERVERS[code] || CLASSES.fetch(number)
      code = Native.rdc_error_name(number) unless number == 1
      kind.new(message, code: code, node: node, sent: sent)
    end

    # The exception for an error reply.
    def self.from(reply, message)
      build(Native.rdc_reply_error(reply), message, Native.rdc_reply_node(reply), Native.rdc_reply_sent(reply) == 1)
    end
  end
end
