# frozen_string_literal: true

require_relative "support"
require_relative "gems"
require "open3"

# Programs that are written for redis-clustering print the same with this gem, by changing the file that they require
# and the name of the class.
class ProgramsTest < ClusterTest
  FILES = Dir[File.expand_path("programs/*.rb", __dir__)].freeze
  CHANGES = { 'require "redis-clustering"' => 'require "rediscluster"', "Redis::Cluster.new" => "RedisCluster.new",
              "Redis::" => "RedisCluster::" }.freeze

  def run_program(text, *folders)
    libraries = folders.flat_map { |folder| ["-I", folder] }
    Open3.capture2e(RbConfig.ruby, *libraries, "-", *ENV.fetch("RDC_SEEDS").split(","), stdin_data: text)
  end

  def changed(text)
    CHANGES.reduce(text) { |program, (theirs, ours)| program.gsub(/\b#{Regexp.escape(theirs)}/, ours) }
  end

  def test_there_are_programs
    names = FILES.map { |file| File.basename(file, ".rb") }
    assert_equal %w[cache leaderboard rate_limiter session_store work_queue], names.sort
  end

  FILES.each do |file|
    name = File.basename(file, ".rb")
    define_method("test_#{name}_prints_the_same") do
      text = File.read(file)
      ours, status = run_program(changed(text), File.expand_path("../lib", __dir__))
      assert status.success?, ours
      assert_operator ours.lines.length, :>, 5
      skip Gems::MISSING unless Gems::HAS_REDIS

      seeds = text.sub("nodes: ARGV", 'nodes: ARGV.map { |seed| "redis://#{seed}" }')
      theirs, status = run_program(seeds, *Gems.folders)
      assert status.success?, theirs
      assert_equal theirs, ours
    end
  end
end
