# frozen_string_literal: true

class RedisCluster
  module Commands
    # Approximate counts of different elements.
    module HyperLogLog
      Commands.define(self, nil, %i[pfcount])
      Commands.define(self, BOOLEAN, %i[pfadd])
      Commands.define(self, DONE, %i[pfmerge])
    end
  end
end
