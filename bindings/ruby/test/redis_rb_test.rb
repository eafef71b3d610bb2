# frozen_string_literal: true

require_relative "support"
require_relative "gems"
require_relative "redis_rb_cases"

# The same calls give the same results as with redis-rb 5 and its redis-clustering, on the same cluster.
class RedisRbTest < ClusterTest
  # Runs calls, and records their results.
  class Recorder < BasicObject
    attr_reader :results, :methods

    def initialize(client)
      @client = client
      @results = []
      @methods = []
    end

    def method_missing(name, *args, **options, &block) # rubocop:disable Style/MissingRespondToMissing
      @methods << name
      result = @client.public_send(name, *args, **options, &block)
      @results << (::Enumerator === result ? result.to_a : result)
      result
    rescue ::StandardError => e
      @results << e
      ::RedisRbTest::Anything.new
    end
  end

  # What calls on the result of a failed call are made on.
  class Anything < BasicObject
    def method_missing(*)
      self
    end
  end

  KEY = ->(suffix = "") { "{ruby:redis-rb}#{suffix}" }
  # Methods without a case, and why.
  NOT_COMPARED = {
    %i[subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe subscribe_with_timeout
       psubscribe_with_timeout ssubscribe_with_timeout] => "pubsub_test.rb",
    %i[close disconnect! quit id connection auth monitor without_reconnect bgsave bgrewriteaof save shutdown slaveof sync
       sentinel asking exec discard unwatch] => "administration_test.rb",
    %i[blmpop] => "redis-rb 5.3 sends LMPOP without the timeout; see commands_test.rb",
    %i[lastsave] => "of one server, as redis-rb; redis-clustering has an array",
    %i[dup] => "a client is used by any number of threads",
    %i[_client] => "the client of redis-client that redis-rb is made of: private in redis-rb's sense, and absent here"
  }.freeze
  # Results that differ on purpose, by the method. README.md has the same list.
  DIFFERENT = { debug: "DEBUG SLEEP is refused", select: "select is refused" }.freeze

  def setup
    skip Gems::MISSING unless Gems::HAS_REDIS
    super
    @redis = Redis::Cluster.new(nodes: ENV.fetch("RDC_SEEDS").split(",").map { |node| "redis://#{node}" })
  end

  def teardown
    return unless @redis

    @redis.close
    super
  end

  def clean
    found = @rc.keys("#{KEY[]}*")
    @rc.del(found)
  end

  # Results as they can be compared: errors by what the server said, and encodings where they matter.
  def comparable(value)
    case value
    when ArgumentError, TypeError then value.class
    when Exception then value.message.sub(/\ACommand # .*? of pipeline: /, "")[/\A[A-Z]+/]
    when Array then value.map { |element| comparable(element) }
    when Hash then value.to_h { |key, element| [comparable(key), comparable(element)] }
    when String then value.ascii_only? ? value : [value, value.encoding]
    else value
    end
  end

  # The classes in a value.
  def shape(value)
    case value
    when Array then [Array, value.map { |element| shape(element) }.uniq.sort_by(&:inspect)]
    when Hash then value.length > 12 ? [Hash, shape(value.to_a)] : value.transform_values { |element| shape(element) }
    else value.class
    end
  end

  def run_case(client, calls)
    clean
    recorder = Recorder.new(client)
    calls.call(recorder, KEY)
    recorder
  end

  def run_pipeline(client, calls)
    clean
    client.pipelined(exception: false) { |p| calls.call(Recorder.new(p), KEY) }
  end

  def assert_same_results(expected, actual, name, methods = nil)
    assert_equal expected.length, actual.length, name
    expected.zip(actual).each_with_index do |(theirs, ours), i|
      next if methods && DIFFERENT.key?(methods[i])

      assert_equal [comparable(theirs)], [comparable(ours)], "#{name}: result #{i} #{methods && methods[i]}"
    end
  end

  RedisRbCases::ALL.merge(RedisRbCases::ALONE, RedisRbCases::CLIENT).each do |name, calls|
    define_method("test_#{name.tr(" ", "_")}_equal_redis_rb") do
      theirs = run_case(@redis, calls)
      ours = run_case(@rc, calls)
      assert_same_results(theirs.results, ours.results, name, theirs.methods)
    end
  end

  RedisRbCases::ALL.each do |name, calls|
    define_method("test_#{name.tr(" ", "_")}_in_pipeline_equal_redis_rb") do
      assert_same_results(run_pipeline(@redis, calls), run_pipeline(@rc, calls), "#{name} in a pipeline")
    end
  end

  def test_classes_of_varying_results_equal_redis_rb
    theirs = run_case(@redis, RedisRbCases::SHAPES)
    ours = run_case(@rc, RedisRbCases::SHAPES)
    theirs.results.zip(ours.results, theirs.methods).each { |a, b, method| assert_equal shape(a), shape(b), method }
  end

  def test_resp2_gives_replies_of_redis_rb
    ours = RedisCluster.new(URL, protocol: 2)
    calls = lambda do |c, k|
      c.hset(k["h"], "f", 1); c.call("HGETALL", k["h"])
      c.zadd(k["z"], 1.5, "m"); c.call("ZRANGE", k["z"], 0, -1, "WITHSCORES")
      c.geoadd(k["g"], 13.361389, 38.115556, "m"); c.geopos(k["g"], "m")
      c.georadius(k["g"], 13, 38, 99, "km", options: :WITHCOORD)
    end
    assert_same_results(run_case(@redis, calls).results, run_case(ours, calls).results, "RESP2")
    RedisRbCases::ALL.each do |name, all|
      assert_same_results(run_case(@redis, all).results, run_case(ours, all).results, name)
    end
  ensure
    ours&.close
  end

  def test_all_methods_of_redis_rb_are_there
    theirs = [Redis, Redis::Cluster].flat_map(&:public_instance_methods).uniq - Object.public_instance_methods
    missing = theirs - RedisCluster.public_instance_methods
    assert_equal [:_client], missing
    source = File.read(RedisRbCases::ALL.each_value.first.source_location.first)
    compared = source.scan(/\b[cptw]\.(\w+[?!]?)/).flatten.map(&:to_sym)
    assert_equal [], theirs - compared - NOT_COMPARED.keys.flatten, "methods that no case calls"
  end
end
