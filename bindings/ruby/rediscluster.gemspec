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
  spec.homepage = "https://github.com/librediscluster/librediscluster"
  # `make gem` adds the licences, and the library's header to the sources of a C extension.
  spec.files = Dir["lib/**/*.rb", "sig/**/*.rbs", "ext/**/{Rakefile,*.rb,*.c,*.h}", "LICENSE*", base: __dir__] + ["README.md"]
  spec.extensions = Dir["ext/*/Rakefile", base: __dir__]
  # `make gem` copies the library there, and says for which platform it is.
  library = Dir["lib/rediscluster/librediscluster.{so.0,0.dylib}", base: __dir__].first
  if library
    spec.files << library
    spec.platform = Gem::Platform.new(ENV.fetch("RDC_GEM_PLATFORM", Gem::Platform.local.to_s))
  end
  spec.add_dependency "ffi", "~> 1.15"
  # RubyGems needs it for the Rakefile of the C extension.
  spec.add_dependency "rake", ">= 12"
  spec.metadata["changelog_uri"] = "#{spec.homepage}/blob/main/CHANGELOG.md"
  spec.metadata["rubygems_mfa_required"] = "true"
end
