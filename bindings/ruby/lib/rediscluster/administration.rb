# frozen_string_literal: true

class RedisCluster
  # Methods of redis-rb that are about connections and single servers.
  module Administration
    # Commands that each server runs for itself, here all of them. The reply of one of them, or the first error.
    %i[bgsave bgrewriteaof save].each do |name|
      define_method(name) do
        replies = call_to("all", name.to_s.upcase).values
        raise_error(replies.find { |reply| reply.is_a?(Error) } || replies.first)
      end
    end

    # Whether the client has connected and was not closed.
    def connected?
      stats["connected"] == 1
    rescue ClosedError
      false
    end

    # Closes the client, as close. Later calls raise ClosedError: redis-rb would connect again.
    def disconnect!
      close
    end

    def quit
      close
      "OK"
    end

    # The addresses of the primaries.
    def id
      primaries.map { |address| address.start_with?("/") ? "unix://#{address}" : "redis://#{address}" }.join(" ")
    end

    # The host, port, database, id and location of a single server.
    def connection
      addresses = primaries
      if addresses.length > 1
        raise NotImplementedError, "connection describes one server, and this is a cluster: see topology"
      end

      host, _, port = addresses.first.rpartition(":")
      { host: host, port: port.to_i, db: database, id: id, location: addresses.first }
    end

    # These raise InvalidError, which says what to do instead.
    def auth(*)
      refuse_method "auth would change the user of every thread: pass user: and password: to new, " \
                    "or call set_credentials"
    end

    def without_reconnect
      refuse_method "without_reconnect: the library connects again by itself. Writes are not sent twice, unless " \
                    "retry_writes is set; pin(key) gives one connection"
    end

    def monitor
      refuse_method "monitor makes a connection a stream of commands, which the library cannot read"
    end

    # Raises InvalidError: other threads use the same connections. `with(database: 3)` is a client of another database.
    def select(database)
      refuse_method "select would change the database of every thread: pass db: #{database} to new, " \
                    "or use with(database: #{database})"
    end

    private

    def database
      call("CLIENT", "INFO")[/ db=(\d+)/, 1].to_i
    end

    def primaries
      topology.map { |shard| shard.dig("primary", "address") }.compact
    end

    def refuse_method(reason)
      raise InvalidError.new("INVALID #{reason}", code: "INVALID")
    end
  end
end
