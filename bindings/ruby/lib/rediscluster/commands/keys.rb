# frozen_string_literal: true

class RedisCluster
  module Commands
    # Keys of all types, and the time that they live.
    module Keys
      Commands.define(self, nil, %i[
        unlink touch exists ttl pttl expiretime pexpiretime type rename dump object randomkey
      ])
      Commands.define(self, BOOLEAN, %i[renamenx persist])

      # True if the key exists and the condition (nx:, xx:, gt:, lt:) holds.
      %i[expire pexpire expireat pexpireat].each do |name|
        command = name.to_s.upcase.freeze
        define_method(name) do |key, time, **options|
          run([command, key, Integer(time)], options, BOOLEAN)
        end
      end

      # The number of deleted keys. Without keys, nothing is sent.
      def del(*keys)
        keys = Convert.flatten(keys)
        keys.empty? ? 0 : run(["DEL", *keys], {}, nil)
      end

      def exists?(*keys)
        run(["EXISTS", *keys], {}, BOOLEAN)
      end

      # The matching keys of the whole cluster. For large clusters use scan_each.
      def keys(pattern = "*")
        run(["KEYS", pattern], {}, nil)
      end

      def restore(key, ttl, serialized_value, **options)
        run(["RESTORE", key, ttl, serialized_value], options, nil)
      end

      def copy(source, destination, **options)
        run(["COPY", source, destination], options, BOOLEAN)
      end

      # Moves a key to another database of a single server. A cluster refuses it.
      def move(key, database)
        run(["MOVE", key, database], {}, BOOLEAN)
      end

      # Sends keys of one slot to another server: host:, port:, db:, timeout: in milliseconds, copy:, replace:.
      def migrate(key, options)
        host, port = %i[host port].map do |name|
          options[name] || raise(ArgumentError, "migrate needs #{name}: of the other server")
        end
        keys = key.is_a?(Array) ? key : []
        flags = []
        %i[copy replace].each { |name| Convert.add_option(flags, name, options[name]) }
        Convert.add_option(flags, :keys, keys) unless keys.empty?
        first = keys.empty? ? key : ""
        run(["MIGRATE", host, port, first, options[:db].to_i, options.fetch(:timeout, 1_000).to_i, flags], {}, nil)
      end

      # The sorted elements of a list, set or sorted set; with several get:, a row of each; with store:, their number.
      def sort(key, by: nil, limit: nil, get: [], order: nil, store: nil)
        patterns = Array(get)
        options = []
        Convert.add_option(options, :by, by)
        Convert.add_option(options, :limit, limit)
        patterns.each { |pattern| Convert.add_option(options, :get, pattern) }
        options.concat(order.to_s.upcase.split)
        Convert.add_option(options, :store, store)
        rows = ->(values) { values.each_slice(patterns.length).to_a } if patterns.length > 1 && !store
        run(["SORT", key, options], {}, rows)
      end
    end
  end
end
