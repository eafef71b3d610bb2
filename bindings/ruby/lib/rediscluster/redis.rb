# frozen_string_literal: true

require "redis"
require_relative "../rediscluster"

class RedisCluster
  # A RedisCluster that raises the errors of the gem redis, for libraries that rescue them, such as the cache store of
  # Rails:
  #
  #     config.cache_store = :redis_cache_store, { redis: RedisCluster::Redis.new("redis://127.0.0.1:7000") }
  #
  # The cause of each error is the RedisCluster::Error.
  class Redis < RedisCluster
    ERRORS = {
      WrongTypeError => ::Redis::WrongTypeError,
      OutOfMemoryError => ::Redis::OutOfMemoryError,
      PermissionError => ::Redis::PermissionError,
      # redis-rb authenticates when it connects.
      AuthenticationError => ::Redis::CannotConnectError,
      ClusterDownError => ::Redis::BaseConnectionError,
      CommandError => ::Redis::CommandError,
      TimeoutError => ::Redis::TimeoutError,
      CannotConnectError => ::Redis::CannotConnectError,
      TLSError => ::Redis::CannotConnectError,
      ConnectionError => ::Redis::ConnectionError,
      RedirectsError => ::Redis::ConnectionError,
      ReadonlyError => ::Redis::ReadOnlyError,
      SubscriptionError => ::Redis::SubscriptionError,
      # What a server would have replied with an error.
      CrossSlotError => ::Redis::CommandError,
      InvalidError => ::Redis::CommandError
    }.freeze

    # redis-rb's error for the library's. Its message begins with the server's error code, also in a pipeline.
    def self.error(error)
      _, kind = ERRORS.find { |ours, _| error.is_a?(ours) }
      (kind || ::Redis::BaseError).new(error.message.sub(Error::PIPELINE_PREFIX, ""))
    end

    methods = RedisCluster.public_instance_methods - Object.public_instance_methods - [:pipelined] + [:initialize]
    methods.each do |name|
      define_method(name) do |*args, **options, &block|
        super(*args, **options, &block)
      rescue Error => e
        raise Redis.error(e)
      end
    end

    def pipelined(exception: true)
      super.map { |result| result.is_a?(Error) ? Redis.error(result) : result }
    rescue Error => e
      raise Redis.error(e)
    end
  end
end
