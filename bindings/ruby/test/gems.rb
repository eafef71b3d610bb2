# frozen_string_literal: true

# The gems that tests compare with: those that tools/setup.sh has unpacked, or else those of the system.
module Gems
  FOLDER = File.join(ENV.fetch("RDC_RUBY_GEMS", ""), "usr/share/rubygems-integration/all/gems")
  # concurrent-ruby has its files in a folder of its own.
  FOLDERS = ["#{FOLDER}/*/lib", "#{FOLDER}/concurrent-ruby-[0-9]*/lib/concurrent-ruby"].freeze

  def self.folders
    Dir[*FOLDERS].reject { |folder| folder.include?("-edge-") }
  end

  $LOAD_PATH.unshift(*folders)

  # Requires files of gems without the warnings of their code. False if there are no such gems.
  def self.load(*files)
    verbose, $VERBOSE = $VERBOSE, nil
    files.each { |file| require file }
    true
  rescue LoadError
    false
  ensure
    $VERBOSE = verbose
  end

  HAS_REDIS = load("redis", "redis-clustering") && Redis::VERSION.to_i >= 5
  MISSING = "redis 5, sidekiq 7 and activesupport 7 are not there: run tools/setup.sh"
end
