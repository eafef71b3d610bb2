# frozen_string_literal: true

class RedisCluster
  module Commands
    # Members and scores of sorted sets.
    module SortedSets
      EXTREMES = %w[MIN MAX].freeze
      # The key and pairs of member and score.
      POPPED = ->(reply) { reply && [reply[0], SCORES.call(reply[1].flatten(1))] }
      # The key, the member and the score.
      POPPED_ONE = ->(reply) { reply && [reply[0], reply[1], FLOAT.call(reply[2])] }

      Commands.define(self, nil, %i[
        zcard zcount zlexcount zrank zrevrank zremrangebyrank zremrangebyscore zremrangebylex
      ])
      Commands.define(self, FLOAT, %i[zscore zincrby])
      Commands.define(self, FLOATS, %i[zmscore])
      Commands.define(self, SCANNED_SCORES, %i[zscan])

      # zadd(key, score, member) is true if the member is new; zadd(key, [[score, member], ...]) returns the number of
      # new members; incr: true returns the score.
      def zadd(key, *args, incr: nil, **options)
        is_list = args.length == 1 && args[0].is_a?(Array)
        raise ArgumentError, "zadd takes a score and a member, or an array of pairs" unless is_list || args.length == 2
        return 0 if is_list && args[0].empty?

        flags = []
        options.merge(incr: incr).each { |name, value| Convert.add_option(flags, name, value) }
        convert = is_list ? nil : BOOLEAN
        run(["ZADD", key, flags, args], {}, incr ? FLOAT : convert)
      end

      # Whether the member was removed; of an array of members, how many were.
      def zrem(key, member)
        return run(["ZREM", key, member], {}, BOOLEAN) unless member.is_a?(Array)

        member.empty? ? 0 : run(["ZREM", key, member], {}, nil)
      end

      # One pair, or an array of pairs if count is above 1.
      %i[zpopmin zpopmax].each do |name|
        command = name.to_s.upcase.freeze
        define_method(name) do |key, count = nil|
          run([command, key, *count], {}, count.to_i > 1 ? SCORES : SCORE)
        end
      end

      # The key, the member and the score of the first sorted set that has a member; nil after the timeout in seconds.
      %i[bzpopmin bzpopmax].each do |name|
        command = name.to_s.upcase.freeze
        define_method(name) do |*keys, timeout: 0|
          run([command, *keys, Lists.seconds(timeout)], {}, POPPED_ONE)
        end
      end

      # The key, and pairs of member and score.
      def zmpop(*keys, modifier: "MIN", count: nil)
        keys = keys.flatten(1)
        run(["ZMPOP", keys.length, keys, Commands.one_of(EXTREMES, modifier, "modifier")], { count: count }, POPPED)
      end

      def bzmpop(timeout, *keys, modifier: "MIN", count: nil)
        keys = keys.flatten(1)
        modifier = Commands.one_of(EXTREMES, modifier, "modifier")
        run(["BZMPOP", Lists.seconds(timeout), keys.length, keys, modifier], { count: count }, POPPED)
      end

      # A random member; with a count, an array of members; with_scores: true makes pairs of member and score.
      def zrandmember(key, count = nil, withscores: false, with_scores: withscores)
        raise ArgumentError, "zrandmember needs a count for with_scores" if with_scores && !count

        run(["ZRANDMEMBER", key, *count], { withscores: with_scores }, with_scores ? SCORES : nil)
      end
    end
  end
end
