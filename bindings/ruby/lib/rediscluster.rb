# frozen_string_literal: true

require_relative "rediscluster/version"
require_relative "rediscluster/native"
require_relative "rediscluster/errors"
require_relative "rediscluster/wait_callback"
require_relative "rediscluster/convert"
require_relative "rediscluster/fiber_queue"
require_relative "rediscluster/fiber_queues"
require_relative "rediscluster/commands"
require_relative "rediscluster/scan"
require_relative "rediscluster/client"
require_relative "rediscluster/pipeline"
