# frozen_string_literal: true

require_relative "support"

# A single server, at TCP and at a unix socket, and numbered databases.
class ServersTest < ClusterTest
  SINGLE = ENV.fetch("RDC_SINGLE_URL")
  SOCKET = ENV.fetch("RDC_SINGLE_SOCKET")

  def test_single_server_accepts_keys_of_any_slots
    client = RedisCluster.new(SINGLE)
    assert_equal "OK", client.mset("#{@name}a", 1, "#{@name}b", 2)
    assert_equal([2, 3], client.multi { |t| [t.incr("#{@name}a"), t.incr("#{@name}b")] })
  ensure
    client&.close
  end

  def test_db_selects_the_database
    { 3 => { url: SINGLE, db: 3 }, 4 => { url: "#{SINGLE}/4" }, 5 => { url: "#{SINGLE}/1", db: 5 },
      6 => { path: SOCKET, db: 6 }, 7 => { url: "unix://#{SOCKET}?database=7" } }.each do |number, options|
      client = RedisCluster.new(**options)
      client.set(@name, number)
      client.close
      other = RedisCluster.new(SINGLE).with(database: number)
      assert_equal number.to_s, other.get(@name), options.inspect
      other.del(@name)
    end
    error = assert_raises(RedisCluster::Error) { RedisCluster.new(SINGLE, db: 99) }
    assert_match(/SELECT 99 \(option database\)/, error.message)
  end

  def test_unix_socket_is_used_like_any_server
    client = RedisCluster.new(path: SOCKET)
    assert_equal "OK", client.set(@name, "v")
    assert_equal "v", client.readonly { |readonly| readonly.get(@name) }
    assert_includes client.inspect, SOCKET
    client.close
    assert_equal "unix:///a%20b/c%3Fd%2Ce.sock", RedisCluster::Convert.socket_url("/a b/c?d,e.sock")
    error = assert_raises(RedisCluster::CannotConnectError) { RedisCluster.new(path: "/no/such.sock", timeout_ms: 300) }
    assert_match(%r{/no/such.sock}, error.message)
  end

  def test_select_is_refused_and_names_db
    error = assert_raises(RedisCluster::InvalidError) { @rc.select(3) }
    assert_match(/db: 3/, error.message)
    error = assert_raises(RedisCluster::Error) { @rc.call("SELECT", 3) }
    assert_match(/option database/, error.message)
  end

  def test_lazy_client_waits_for_nothing
    client = RedisCluster.new("redis://127.0.0.1:1", lazy: true, timeout_ms: 300)
    assert_raises(RedisCluster::ConnectionError) { client.get(@name) }
  ensure
    client&.close
  end
end
