# frozen_string_literal: true

class RedisCluster
  module Commands
    # Strings and counters. As in redis-rb, the methods that store a value store value.to_s.
    module Strings
      Commands.define(self, nil, %i[
        get mget getrange getdel getex append strlen incr decr incrby decrby
      ])

      # "OK"; with nx or xx, whether the key was set; with get: true, the previous value.
      def set(key, value, **options)
        options = options.transform_values { |option| option.respond_to?(:to_int) ? Integer(option) : option }
        conditional = (options[:nx] || options[:xx]) && !options[:get]
        run(["SET", key, value.to_s], options, conditional ? DONE : nil)
      end

      def setex(key, seconds, value)
        run(["SETEX", key, Integer(seconds), value.to_s], {}, nil)
      end

      def psetex(key, milliseconds, value)
        run(["PSETEX", key, Integer(milliseconds), value.to_s], {}, nil)
      end

      def setnx(key, value)
        run(["SETNX", key, value.to_s], {}, BOOLEAN)
      end

      def setrange(key, offset, value)
        run(["SETRANGE", key, Integer(offset), value.to_s], {}, nil)
      end

      def getset(key, value)
        run(["GETSET", key, value.to_s], {}, nil)
      end

      def incrbyfloat(key, increment)
        run(["INCRBYFLOAT", key, Float(increment)], {}, FLOAT)
      end

      # The command has no options, so keywords are keys, as in redis-rb: mset("{a}1": 1, "{a}2": 2).
      def mset(*pairs, **values)
        run(["MSET", *pairs, values], {}, nil)
      end

      def msetnx(*pairs, **values)
        run(["MSETNX", *pairs, values], {}, BOOLEAN)
      end

      # The values by key.
      def mapped_mget(*keys)
        keys = keys.flatten(1)
        run(["MGET", *keys], {}, ->(values) { keys.zip(values).to_h })
      end

      def mapped_mset(hash)
        mset(hash)
      end

      def mapped_msetnx(hash)
        msetnx(hash)
      end
    end
  end
end
