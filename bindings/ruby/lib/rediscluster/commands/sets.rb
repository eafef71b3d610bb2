# frozen_string_literal: true

class RedisCluster
  module Commands
    # Sets.
    module Sets
      Commands.define(self, nil, %i[
        sadd srem smembers scard spop srandmember sinter sunion sdiff sinterstore sunionstore sdiffstore sscan
      ])
      Commands.define(self, BOOLEAN, %i[sismember smove])
      Commands.define(self, BOOLEANS, %i[smismember])

      # The variants with a question mark return true or false instead of a count.
      def sadd?(key, *members)
        run(["SADD", key, *members], {}, BOOLEAN)
      end

      def srem?(key, *members)
        run(["SREM", key, *members], {}, BOOLEAN)
      end
    end
  end
end
