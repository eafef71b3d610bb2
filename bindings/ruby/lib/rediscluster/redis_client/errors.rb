# frozen_string_literal: true

class RedisCluster
  # The errors of the gem redis-client for those of the library.
  module RedisClientErrors
    CLASSES = {
      PermissionError => RedisClient::PermissionError,
      AuthenticationError => RedisClient::AuthenticationError,
      TimeoutError => RedisClient::ReadTimeoutError,
      CannotConnectError => RedisClient::CannotConnectError,
      TLSError => RedisClient::CannotConnectError,
      ConnectionError => RedisClient::ConnectionError,
      ClusterDownError => RedisClient::ConnectionError,
      RedirectsError => RedisClient::ConnectionError,
      ReadonlyError => RedisClient::ReadOnlyError,
      ProtocolError => RedisClient::ProtocolError,
      # What a server would have replied with an error.
      CrossSlotError => RedisClient::CommandError,
      InvalidError => RedisClient::CommandError
    }.freeze

    private

    # Raises redis-client's error for the library's, which is its cause.
    def translating
      yield
    rescue Error => e
      raise RedisClientErrors.of(e)
    end

    def self.of(error)
      _, kind = CLASSES.find { |ours, _| error.is_a?(ours) }
      return kind.new(error.message) if kind
      return RedisClient::Error.new(error.message) unless error.is_a?(CommandError)

      RedisClient::CommandError.parse(error.message.sub(Error::PIPELINE_PREFIX, ""))
    end
  end
end
