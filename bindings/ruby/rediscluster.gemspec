# frozen_string_literal: true

require_relative "lib/rediscluster/version"

Gem::Specification.new do |spec|
  spec.name = "rediscluster"
  spec.version = RedisCluster::VERSION
  spec.authors = ["The librediscluster authors"]
  spec.summary = "A client for Redis Cluster and Valkey Cluster on librediscluster"
  spec.description = "Reads from replicas, pipelines to all nodes in parallel, and a time limit for every call. " \
                     "It loads the shared library librediscluster, which gems of a platform include."
  spec.licenses = ["MIT", "Apache-2.0"]
  spec.required_ruby_version = ">= 2.7"
  # `make gem` copies the library's header beside the sources of the C extension.
  spec.files = Dir["lib/**/*.rb", "ext/**/{Rakefile,*.rb,*.c,*.h}", base: __dir__] + ["README.md"]
  spec.extensions = ["ext/rediscluster/Rakefile"]
  # `make gem` copies the library there.
  library = "lib/rediscluster/librediscluster.so.0"
  if File.exist?(File.expand_path(library, __dir__))
    spec.files << library
    spec.platform = Gem::Platform::CURRENT
  end
  spec.add_dependency "ffi", "~> 1.15"
  # RubyGems needs it for the Rakefile of the C extension.
  spec.add_dependency "rake", ">= 12"
  spec.metadata["rubygems_mfa_required"] = "true"
end
