# frozen_string_literal: true

class RedisCluster
  module Commands
    # Lists. The methods that wait take a timeout in seconds, and wait without a limit by default.
    module Lists
      ENDS = %w[LEFT RIGHT].freeze

      Commands.define(self, nil, %i[
        lpush rpush lpushx rpushx lpop rpop llen lrange lindex lset lrem ltrim linsert lpos rpoplpush
      ])

      # The key and the element; nil after the timeout. The keys are in one slot.
      %i[blpop brpop].each do |name|
        command = name.to_s.upcase.freeze
        define_method(name) do |*keys, timeout: 0|
          run([command, *keys, Lists.seconds(timeout)], {}, nil)
        end
      end

      def brpoplpush(source, destination, timeout: 0)
        run(["BRPOPLPUSH", source, destination, Lists.seconds(timeout)], {}, nil)
      end

      # Moves an element from an end of a list, LEFT or RIGHT, to an end of another one.
      def lmove(source, destination, from, to)
        run(["LMOVE", source, destination, *Lists.ends(from, to)], {}, nil)
      end

      def blmove(source, destination, from, to, timeout: 0)
        run(["BLMOVE", source, destination, *Lists.ends(from, to), Lists.seconds(timeout)], {}, nil)
      end

      # The key and the elements of the first list that has any.
      def lmpop(*keys, modifier: "LEFT", count: nil)
        keys = keys.flatten(1)
        run(["LMPOP", keys.length, keys, Commands.one_of(ENDS, modifier, "modifier")], { count: count }, nil)
      end

      def blmpop(timeout, *keys, modifier: "LEFT", count: nil)
        keys = keys.flatten(1)
        modifier = Commands.one_of(ENDS, modifier, "modifier")
        run(["BLMPOP", Lists.seconds(timeout), keys.length, keys, modifier], { count: count }, nil)
      end

      def self.ends(from, to)
        [Commands.one_of(ENDS, from, "the first end"), Commands.one_of(ENDS, to, "the second end")]
      end

      # The timeout of a command that waits.
      def self.seconds(timeout)
        case timeout
        when nil then 0
        when Integer, Float then timeout
        else raise ArgumentError, "timeout is of type #{timeout.class}; pass an Integer or Float, in seconds"
        end
      end
    end
  end
end
