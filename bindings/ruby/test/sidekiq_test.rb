# frozen_string_literal: true

require_relative "support"
require_relative "gems"
HAS_SIDEKIQ = Gems::HAS_REDIS &&
              Gems.load("sidekiq", "sidekiq/api", "sidekiq/scheduled", "sidekiq/processor", "sidekiq/embedded")
require "rediscluster/redis_client" if HAS_SIDEKIQ

# Sidekiq enqueues and runs jobs with RedisCluster::Client as its redis-client.
class SidekiqTest < ClusterTest
  if HAS_SIDEKIQ
    RAN = Thread::Queue.new

    class Job
      include Sidekiq::Job
      sidekiq_options queue: "ruby_test", retry: 1

      def perform(what)
        RAN << what
        raise "this job fails" if what == "fail"
      end
    end
  end

  def setup
    skip Gems::MISSING unless HAS_SIDEKIQ
    super
    RAN.clear
    # Parts of Sidekiq use the default configuration whatever they are given.
    Sidekiq.default_configuration.tap do |config|
      config.logger = Logger.new(File::NULL)
      config.redis = options(ENV.fetch("RDC_SINGLE_URL"))
    end
  end

  def options(url)
    { url: url, client_implementation: RedisCluster::Client }
  end

  def configuration(url)
    Sidekiq::Config.new.tap do |config|
      config.redis = options(url)
      config.logger = Logger.new(File::NULL)
      config.queues = %w[ruby_test]
      config.concurrency = 2
    end
  end

  def push(config, what, **item)
    client = Sidekiq::Client.new(config: config)
    client.push("class" => Job, "args" => [what], **item.transform_keys(&:to_s))
  end

  def test_server_process_runs_jobs_on_a_single_server
    config = configuration("#{ENV.fetch("RDC_SINGLE_URL")}/8")
    config.redis { |redis| redis.call("FLUSHDB") }
    assert_match(/\A\h{24}\z/, push(config, "now"))
    push(config, "later", at: Time.now.to_f + 0.1)
    push(config, "fail")
    server = Sidekiq::Embedded.new(config)
    server.run
    # The server's own poller begins after 10 seconds.
    scheduled = Sidekiq::Scheduled::Enq.new(config)
    eventually { scheduled.enqueue_jobs.then { RAN.length == 3 } }
    assert_equal %w[fail later now], Array.new(3) { RAN.pop }.sort
    eventually { config.redis { |redis| redis.call("ZCARD", "retry") } == 1 }
    eventually { config.redis { |redis| redis.call("SCARD", "processes") } == 1 }
    server.stop
    assert_equal({ "failed" => "1" }, config.redis { |redis| { "failed" => redis.get("stat:failed") } })
    assert_equal 0, config.redis { |redis| redis.llen("queue:ruby_test") }
  end

  # A cluster refuses the transactions of Sidekiq's processes, which have keys of several slots; queues work.
  def test_jobs_are_pushed_and_run_in_a_cluster
    config = configuration("redis://#{ENV.fetch("RDC_SEEDS")[/[^,]*/]}")
    config.redis { |redis| redis.call("DEL", "queue:ruby_test") }
    push(config, "cluster")
    assert_equal(1, config.redis { |redis| redis.llen("queue:ruby_test") })
    Sidekiq::Processor.new(config.default_capsule).send(:process_one)
    assert_equal "cluster", RAN.pop
    error = assert_raises(Sidekiq::RedisClientAdapter::CommandError) do
      config.redis { |redis| redis.multi { |t| t.sadd("processes", ["me"]); t.expire("me", 1) } }
    end
    assert_match(/slots/, error.message)
  ensure
    config&.redis { |redis| %w[queues queue:ruby_test].each { |key| redis.call("DEL", key) } }
  end
end
