# frozen_string_literal: true

class RedisCluster
  VERSION = "0.1.0"
end
