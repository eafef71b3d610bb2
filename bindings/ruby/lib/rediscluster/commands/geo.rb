# frozen_string_literal: true

class RedisCluster
  module Commands
    # Places on the Earth. Coordinates are Floats in RESP3, which is the default, and texts in RESP2.
    module Geo
      Commands.define(self, nil, %i[geoadd geohash geopos geosearch geosearchstore])

      # The distance as text.
      def geodist(key, member, other, unit = "m")
        run(["GEODIST", key, member, other, unit], {}, nil)
      end

      # The members within a radius of a place or of a member. sort: "asc" or "desc"; options: :WITHCOORD, :WITHDIST or
      # :WITHHASH.
      %i[georadius georadiusbymember].each do |name|
        command = name.to_s.upcase.freeze
        define_method(name) do |*args, sort: nil, count: nil, options: nil|
          run([command, *args, *sort, *(["COUNT", Integer(count)] if count), *options], {}, nil)
        end
      end
    end
  end
end
