# frozen_string_literal: true

require_relative "support"
require_relative "gems"
require_relative "redis_rb_cases"
require "open3"
require_relative "../tools/pipeline_signatures"
HAS_RBS = Gems.load("rbs", "rbs/cli")

# The signatures in sig/ are valid and complete, and hold for the arguments and results of real calls.
class SignaturesTest < ClusterTest
  ROOT = File.expand_path("..", __dir__)
  # Calls of the cases that are wrong on purpose.
  WRONG_CALLS = %w[append blpop hrandfield xpending zadd zrandmember].freeze

  def setup
    skip "the gem rbs, which comes with Ruby, is not there" unless HAS_RBS
    super
  end

  def test_signatures_are_valid_and_those_of_pipelines_current
    output = StringIO.new
    RBS::CLI.new(stdout: output, stderr: output).run(["-I", File.join(ROOT, "sig"), "validate", "--silent"])
    assert_equal PipelineSignatures.generate, File.read(PipelineSignatures::TARGET), PipelineSignatures::STALE
  end

  def test_generated_methods_are_current
    methods = File.expand_path("../../tools/commands/methods.py", ROOT)
    output, status = Open3.capture2e("python3", methods, "--check")
    assert status.success?, output
  end

  def definition_builder
    loader = RBS::EnvironmentLoader.new
    loader.add(path: Pathname(File.join(ROOT, "sig")))
    RBS::DefinitionBuilder.new(env: RBS::Environment.from_loader(loader).resolve_type_names)
  end

  def test_public_methods_have_signatures
    Gems.load("rediscluster/redis_client") if Gems::HAS_REDIS
    names = %w[Pipeline Future PubSub Subscriptions::Callbacks Error Client Client::CommandList]
    names.select! { |name| RedisCluster.const_defined?(name) }
    builder = definition_builder
    ["RedisCluster", *names.map { |name| "RedisCluster::#{name}" }].each do |name|
      definition = builder.build_instance(TypeName("::#{name}"))
      own = Object.const_get(name).public_instance_methods - Exception.public_instance_methods
      # Callbacks#call is what the subscription itself calls.
      assert_equal [], own - definition.methods.keys - %i[call then], name
    end
  end

  CHECK = <<~RUBY
    require "rediscluster"
    require_relative "test/redis_rb_cases"
    client = RedisCluster.new(ENV.fetch("RDC_URL"))
    recorder = Class.new(BasicObject) do
      define_method(:initialize) { |*| nil }
      define_method(:method_missing) do |name, *args, **options, &block|
        client.public_send(name, *args, **options, &block)
      rescue ::RBS::Test::Tester::TypeError => e
        ::Kernel.puts "\#{name} \#{e.message}"
      rescue ::StandardError
        nil
      end
    end
    key = ->(suffix = "") { "{ruby:typed}\#{suffix}" }
    RedisRbCases::ALL.merge(RedisRbCases::ALONE, RedisRbCases::CLIENT.slice("server", "scans")).each_value do |calls|
      client.del(client.keys("\#{key[]}*"))
      calls.call(recorder.new, key)
    end
    puts "complete"
  RUBY

  def test_signatures_hold_for_calls
    environment = { "RBS_TEST_TARGET" => "RedisCluster,RedisCluster::*", "RBS_TEST_OPT" => "-I sig",
                    "RBS_TEST_RAISE" => "true", "RBS_TEST_LOGLEVEL" => "error" }
    command = [RbConfig.ruby, "-Ilib", "-rrbs/test/setup", "-e", CHECK]
    output, = Open3.capture2e(environment, *command, chdir: ROOT)
    *wrong, last = output.lines(chomp: true)
    assert_equal "complete", last, output
    assert_equal WRONG_CALLS, wrong.map { |line| line[/\A\S+/] }.uniq.sort, output
  end
end
