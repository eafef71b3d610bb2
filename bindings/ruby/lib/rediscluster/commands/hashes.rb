# frozen_string_literal: true

class RedisCluster
  module Commands
    # Hashes.
    module Hashes
      Commands.define(self, nil, %i[hget hmget hdel hkeys hvals hlen hincrby hstrlen])
      Commands.define(self, BOOLEAN, %i[hsetnx hexists])
      Commands.define(self, FLOAT, %i[hincrbyfloat])
      Commands.define(self, HASH, %i[hgetall])
      Commands.define(self, SCANNED_PAIRS, %i[hscan])

      # The command has no options, so keywords are fields, as in redis-rb: hset("user:1", name: "Ada").
      def hset(key, *pairs, **fields)
        run(["HSET", key, *pairs, fields], {}, nil)
      end

      def hmset(key, *pairs, **fields)
        run(["HMSET", key, *pairs, fields], {}, nil)
      end

      # The values by field.
      def mapped_hmget(key, *fields)
        fields = fields.flatten(1)
        run(["HMGET", key, *fields], {}, ->(values) { fields.zip(values).to_h })
      end

      def mapped_hmset(key, hash)
        hmset(key, hash)
      end

      # A random field; with a count, an array of fields; with_values: true makes pairs of field and value.
      def hrandfield(key, count = nil, withvalues: false, with_values: withvalues)
        raise ArgumentError, "hrandfield needs a count for with_values" if with_values && !count

        run(["HRANDFIELD", key, *count], { withvalues: with_values }, with_values ? PAIRS : nil)
      end
    end
  end
end
