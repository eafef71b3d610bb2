# frozen_string_literal: true

require_relative "lib/rediscluster/version"

Gem::Specification.new do |spec|
  spec.name = "rediscluster"
  spec.version = RedisCluster::VERSION
  spec.authors = ["The librediscluster authors"]
  spec.summary = "A client for Redis Cluster and Valkey Cluster on librediscluster"
  spec.description = "Reads from replicas, pipelines over all nodes at once, and an end to every call. " \
                     "Loads the shared library librediscluster, which is installed separately."
  spec.licenses = ["MIT", "Apache-2.0"]
  spec.required_ruby_version = ">= 2.7"
  spec.files = Dir["lib/**/*.rb", base: __dir__] + ["README.md"]
  spec.add_dependency "ffi", "~> 1.15"
  spec.metadata["rubygems_mfa_required"] = "true"
end
