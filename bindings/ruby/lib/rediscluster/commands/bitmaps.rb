# frozen_string_literal: true

class RedisCluster
  module Commands
    # Bits of strings.
    module Bitmaps
      Commands.define(self, nil, %i[setbit getbit bitop bitfield bitfield_ro])

      # The number of bits that are 1. scale: "BIT" counts the positions in bits instead of bytes.
      def bitcount(key, start = 0, stop = -1, scale: nil)
        run(["BITCOUNT", key, start, stop, *scale], {}, nil)
      end

      # The position of the first bit with this value.
      def bitpos(key, bit, start = nil, stop = nil, scale: nil)
        raise ArgumentError, "bitpos has a stop and no start; pass both" if stop && !start

        run(["BITPOS", key, bit, *start, *stop, *scale], {}, nil)
      end
    end
  end
end
