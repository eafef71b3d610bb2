# frozen_string_literal: true

class RedisCluster
  # The forms of redis-client's call, for clients and pipelines.
  module CallForms
    # call_v(["SET", "key", "value"]).
    def call_v(command, &block)
      call(*command, &block)
    end

    # The same as call: a write is not sent twice unless the option retry_writes is set.
    def call_once(*args, **options, &block)
      call(*args, **options, &block)
    end

    def call_once_v(command, &block)
      call(*command, &block)
    end

    # A command that waits on the server. The timeout is of redis-client, and not needed: the client's time limit does
    # not include the time that the command itself says.
    def blocking_call(_timeout, *args, **options, &block)
      call(*args, **options, &block)
    end

    def blocking_call_v(_timeout, command, &block)
      call(*command, &block)
    end
  end
end
