# frozen_string_literal: true

class RedisCluster
  module Commands
    # Streams. An entry is a pair of its id and a hash of its fields.
    module Streams
      Commands.define(self, nil, %i[xlen xdel])

      # The entry's id.
      def xadd(key, entry, id: "*", approximate: nil, maxlen: nil, minid: nil, nomkstream: nil)
        options = []
        Convert.add_option(options, :nomkstream, nomkstream)
        Convert.add_option(options, :maxlen, maxlen && [*("~" if approximate), maxlen])
        Convert.add_option(options, :minid, minid && [*("~" if approximate), minid])
        run(["XADD", key, options, id, entry], {}, nil)
      end

      # The number of deleted entries. strategy: "MAXLEN" keeps that many, "MINID" those from an id on.
      def xtrim(key, limit_or_id, strategy: "MAXLEN", approximate: false, limit: nil)
        run(["XTRIM", key, strategy.to_s.upcase, *("~" if approximate), limit_or_id], { limit: limit }, nil)
      end

      def xrange(key, first = "-", last = "+", count: nil)
        run(["XRANGE", key, first, last], { count: count }, ENTRIES)
      end

      def xrevrange(key, last = "+", first = "-", count: nil)
        run(["XREVRANGE", key, last, first], { count: count }, ENTRIES)
      end

      # The entries of each stream. All streams must be in one slot. block: waits up to that many milliseconds for
      # entries; 0 means no limit.
      def xread(keys, ids, count: nil, block: nil)
        run(["XREAD", Streams.limits(count, block), "STREAMS", keys, ids], {}, STREAMS)
      end

      # What is known of a stream ("stream"), its groups ("groups") or a group's consumers ("consumers").
      def xinfo(subcommand, key, group = nil)
        convert = subcommand.to_s.casecmp?("stream") ? HASH : HASHES
        run(["XINFO", subcommand, key, *group], {}, convert)
      end

      def self.limits(count, block)
        options = []
        Convert.add_option(options, :count, count)
        Convert.add_option(options, :block, block&.to_i)
        options
      end
    end
  end
end
