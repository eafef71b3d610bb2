# frozen_string_literal: true

require_relative "commands/results"
%w[
  strings bitmaps keys hashes lists sets sorted_sets sorted_set_ranges streams stream_groups geo hyper_log_log scripting
  server cluster
  generated/json generated/search generated/filters generated/sketches generated/time_series generated/vector_sets
  generated/others
].each { |group| require_relative "commands/#{group}" }

class RedisCluster
  # The commands with the arguments and results of redis-rb 5, for clients, pipelines and transactions. The methods of
  # other commands are generated: they take the arguments of the server.
  #
  # A class that includes this module defines `run(args, options, convert)`: the command, its options (`ex: 5` is
  # "EX" "5", `nx: true` is "NX"), and a function that converts the server's reply to redis-rb's result, or nil.
  module Commands
    include Strings
    include Bitmaps
    include Keys
    include Hashes
    include Lists
    include Sets
    include SortedSets
    include SortedSetRanges
    include Streams
    include StreamGroups
    include Geo
    include HyperLogLog
    include Scripting
    include Server
    include Cluster
    include Json
    include Search
    include Filters
    include Sketches
    include TimeSeries
    include VectorSets
    include Others
  end
end
