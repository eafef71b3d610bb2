# frozen_string_literal: true

class RedisCluster
  module Commands
    # Ranges and combinations of sorted sets. With with_scores: true, the result is pairs of member and score.
    module SortedSetRanges
      %i[zrange zrevrange zrangebyscore zrevrangebyscore zrangebylex zrevrangebylex].each do |name|
        command = name.to_s.upcase.freeze
        define_method(name) do |key, first, last, **options|
          options = SortedSetRanges.options(options)
          run([command, key, first, last], options, options["withscores"] ? SCORES : nil)
        end
      end

      # Stores a range. The number of members in the destination.
      def zrangestore(destination, source, first, last, **options)
        run(["ZRANGESTORE", destination, source, first, last], SortedSetRanges.options(options), nil)
      end

      %i[zunion zinter zdiff].each do |name|
        command = name.to_s.upcase.freeze
        define_method(name) do |*keys, with_scores: false, **options|
          keys = keys.flatten(1)
          options = options.merge(withscores: with_scores)
          run([command, keys.length, keys], options, with_scores ? SCORES : nil)
        end

        # The number of members in the destination.
        define_method(:"#{name}store") do |destination, keys, **options|
          run(["#{command}STORE", destination, Array(keys).length, keys], options, nil)
        end
      end

      def self.options(options)
        options = Commands.without_underscores(options)
        return options unless options["byscore"] && options["bylex"]

        raise ArgumentError, "a range is by_score or by_lex; pass one of them"
      end
    end
  end
end
