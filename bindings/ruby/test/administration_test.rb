# frozen_string_literal: true

require_relative "support"

# redis-rb's options, and its methods that are about connections and servers.
class AdministrationTest < ClusterTest
  SINGLE = ENV.fetch("RDC_SINGLE_URL")

  def translate(**options)
    RedisCluster::Options.translate(**options)
  end

  def test_options_of_redis_rb_have_their_meaning
    assert_equal({ url: "redis://h:7", user: "u", password: "p", database: "2", client_name: "me" },
                 translate(host: "h", port: 7, username: "u", password: "p", db: 2, id: "me"))
    assert_equal({ url: "rediss://h:1", attempt_timeout_ms: 1_500, connect_timeout_ms: 200, readonly: "yes" },
                 translate(url: "redis://h:1", ssl: true, timeout: 1.5, connect_timeout: 0.2, readonly: true, db: nil))
    assert_equal 7_000, translate(timeout: 7)[:timeout_ms]
    assert_equal "nearest", translate(url: "redis://h", replica: true, replica_affinity: :latency)[:read_from]
    assert_equal "replica", translate(url: "redis://h", replica: true)[:read_from]
    refute_includes translate(url: "redis://h", replica: false), :read_from
    assert_equal({ url: "unix:///s", tls_ca_file: "/ca", tls_insecure_skip_verify: "yes" },
                 translate(path: "/s", ssl_params: { ca_file: "/ca", verify_mode: 0 }))
    assert_equal "rediss://u:p@h:1,i:2", RedisCluster::Convert.url(%w[rediss://u:p@h:1/0 rediss://u:p@i:2/])
  end

  def test_options_without_effect_are_refused_with_the_reason
    RedisCluster::Options::REFUSED.each do |name, reason|
      error = assert_raises(RedisCluster::InvalidError) { RedisCluster.new(URL, name => 1) }
      assert_includes error.message, "#{name}: is not an option: #{reason}"
    end
    assert_raises(RedisCluster::InvalidError) { RedisCluster.new(URL, replica: true, replica_affinity: :near) }
    assert_raises(RedisCluster::InvalidError) { RedisCluster.new(URL, ssl_params: { cert: Object.new }) }
  end

  def test_client_of_redis_rb_options_works
    host, port = ENV.fetch("RDC_SEEDS").split(",").first.split(":")
    rc = RedisCluster.new({ "host" => host, "port" => port, "timeout" => 2 })
    assert_equal "OK", rc.set(key, "v")
    assert_equal "v", eventually { RedisCluster.new(URL, replica: true, timeout: 2).get(@name) }
  ensure
    rc&.close
  end

  def test_url_is_that_of_the_environment
    output, status = run_ruby(<<~RUBY, "REDIS_URL" => SINGLE)
      require "rediscluster"
      puts RedisCluster.new.ping
    RUBY
    assert status.success?, output
    assert_equal "PONG\n", output
  end

  def test_client_names_its_servers
    single = RedisCluster.new(SINGLE, db: 2)
    assert_equal SINGLE, single.id
    host, port = SINGLE.delete_prefix("redis://").split(":")
    assert_equal({ host: host, port: port.to_i, db: 2, id: SINGLE, location: "#{host}:#{port}" }, single.connection)
    assert_equal 3, @rc.id.split.length
    assert_raises(NotImplementedError) { @rc.connection }
    assert_predicate single, :connected?
    assert_equal "OK", single.quit
    refute_predicate single, :connected?
    single.disconnect!
    assert_raises(RedisCluster::ClosedError) { single.ping }
  end

  def test_methods_that_would_concern_other_threads_say_what_to_do
    { auth: [/set_credentials/, "user", "password"], monitor: [/stream/], without_reconnect: [/retry_writes/],
      select: [/db: 3/, 3], asking: [/pin\(key\)/], exec: [/pin\(key\)/], discard: [/pin\(key\)/], sync: [/stream/],
      shutdown: [/call_to with host:port/], slaveof: [/call_to/, "h", 1] }.each do |method, (pattern, *args)|
      error = assert_raises(RedisCluster::InvalidError, method) { @rc.public_send(method, *args) }
      assert_match pattern, error.message
      refute_match(/rdc_/, error.message)
    end
    error = assert_raises(RedisCluster::CommandError) { @rc.sentinel("masters") }
    assert_match(/unknown command/, error.message)
  end

  def test_servers_save_in_background
    assert_match(/started|progress/i, @rc.bgsave)
    assert_match(/started|scheduled|progress/i, @rc.bgrewriteaof)
    saved = eventually { @rc.save rescue nil } # rubocop:disable Style/RescueModifier
    assert_equal "OK", saved
    assert_kind_of Integer, @rc.lastsave
  end

  def test_error_classes_have_names_of_redis_rb
    @rc.set(key, "text")
    assert_raises(RedisCluster::WrongTypeError) { @rc.lpush(@name, 1) }
    single = RedisCluster.new(SINGLE)
    single.acl("SETUSER", "ruby-test", "on", ">secret", "+ping", "+hello", "+select", "+client", "+cluster", "+info")
    limited = RedisCluster.new(SINGLE, username: "ruby-test", password: "secret")
    error = assert_raises(RedisCluster::PermissionError) { limited.get("k") }
    assert_kind_of RedisCluster::CommandError, error
    assert_kind_of RedisCluster::BaseError, error
    assert_operator RedisCluster::CannotConnectError, :<, RedisCluster::BaseConnectionError
  ensure
    single&.acl("DELUSER", "ruby-test")
    [single, limited].each { |client| client&.close }
  end
end
