# frozen_string_literal: true

class RedisCluster
  # The root of all errors that the library and the servers report. Wrong use of Ruby (an argument that is
  # neither text nor number) is a TypeError or an ArgumentError as everywhere.
  class Error < StandardError
    # The name of the error: "TIMEOUT", "READONLY" ...; of a CommandError the server's own first word: "WRONGTYPE".
    attr_reader :code
    # "host:port" of the node that it is about, or nil.
    attr_reader :node

    def initialize(message = nil, code: nil, node: nil, sent: false)
      super(message)
      @code = code
      @node = node
      @sent = sent
    end

    # false: the command certainly did not run, and sending it again is safe. true: it ran or may have run.
    def sent?
      @sent
    end
  end

  # The server said no.
  class CommandError < Error; end
  # The server refused the credentials, or their rights.
  class AuthenticationError < CommandError; end
  # CLUSTERDOWN, or no node serves the slot.
  class ClusterDownError < CommandError; end

  # A bad argument, option or URL; nothing was sent.
  class InvalidError < Error; end
  # The keys live in different slots; nothing was sent.
  class CrossSlotError < Error; end
  # A write through a read-only client; nothing was sent.
  class ReadonlyError < Error; end
  # The client was closed.
  class ClosedError < Error; end

  # The connection broke.
  class ConnectionError < Error; end
  # No node could be reached; nothing was sent.
  class CannotConnectError < ConnectionError; end
  # A certificate was not accepted, by us or by the node, or the session of TLS broke down.
  class TLSError < ConnectionError; end
  # A deadline passed.
  class TimeoutError < ConnectionError; end

  # The peer does not speak RESP, or broke a limit.
  class ProtocolError < Error; end
  # max_redirects were followed and the command is not home.
  class RedirectsError < Error; end
  # rdc_interrupt() was called.
  class InterruptedError < Error; end
  # A bug in the library, caught at its edge.
  class InternalError < Error; end

  class Error
    # The codes RDC_ERR_... of the header; a code that a later library may have is an Error.
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
      15 => TLSError
    }.freeze

    # The words of an error in a pipeline say first which command it was.
    PLACE = /\ACommand # \d+ \(.*?\) of pipeline: /m

    # The error that a reply of the library is.
    def self.from(reply, words)
      number = Native.rdc_reply_error(reply)
      code = number == 1 ? words.sub(PLACE, "")[/\A\S+/] : Native.rdc_error_name(number)
      node = Native.rdc_reply_node(reply)
      CLASSES.fetch(number, Error).new(words, code: code, node: node, sent: Native.rdc_reply_sent(reply) == 1)
    end
  end
end
