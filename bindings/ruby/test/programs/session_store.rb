# frozen_string_literal: true

# Sessions of a web application: hashes that expire, an index of each user's sessions, and changes without lost updates.
require "json"
require "redis-clustering"

# A session is a hash; its keys and its user's index are in different slots.
class SessionStore
  class Conflict < StandardError; end

  TTL = 1800

  def initialize(redis)
    @redis = redis
  end

  def create(id, user, data = {})
    fields = { "user" => user, "visits" => 0, "data" => JSON.generate(data) }
    @redis.mapped_hmset(key(id), fields)
    @redis.expire(key(id), TTL)
    @redis.sadd(index(user), id)
    id
  end

  def load(id)
    fields = @redis.hgetall(key(id))
    return if fields.empty?

    fields.merge("visits" => fields["visits"].to_i, "data" => JSON.parse(fields["data"]))
  end

  # Counts a visit, and keeps the session alive.
  def touch(id)
    visits, alive = @redis.pipelined do |pipeline|
      pipeline.hincrby(key(id), "visits", 1)
      pipeline.expire(key(id), TTL)
      pipeline.ttl(key(id))
    end
    [visits, alive]
  end

  # Changes the data; raises Conflict if another process has changed them meanwhile.
  def update(id)
    changed = @redis.watch(key(id)) do |watching|
      data = JSON.parse(watching.hget(key(id), "data") || "{}")
      changed_data = yield data
      watching.multi do |transaction|
        transaction.hset(key(id), "data", JSON.generate(changed_data))
        transaction.persist(key(id))
        transaction.expire(key(id), TTL)
      end
    end
    raise Conflict, "session #{id} was changed by another process" unless changed

    changed
  end

  def sessions_of(user)
    ids = @redis.smembers(index(user)).sort
    alive = @redis.pipelined { |pipeline| ids.each { |id| pipeline.exists?(key(id)) } }
    dead = ids.zip(alive).reject(&:last).map(&:first)
    @redis.srem(index(user), dead) unless dead.empty?
    ids - dead
  end

  def destroy(id)
    user = @redis.hget(key(id), "user")
    @redis.srem?(index(user), id) if user
    @redis.del(key(id)) == 1
  end

  private

  def key(id)
    "program:session:#{id}"
  end

  def index(user)
    "program:sessions:#{user}"
  end
end

redis = Redis::Cluster.new(nodes: ARGV)
%w[session:a session:b session:c sessions:ann].each { |key| redis.del("program:#{key}") }
store = SessionStore.new(redis)
%w[a b c].each { |id| store.create(id, "ann", "cart" => []) }
puts store.load("a").inspect, store.load("none").inspect
puts store.touch("a").inspect, store.touch("a").first
puts store.update("a") { |data| data.merge("cart" => ["book"]) }.length
begin
  store.update("a") do |data|
    redis.hset("program:session:a", "data", JSON.generate("cart" => ["lamp"]))
    data
  end
rescue SessionStore::Conflict => e
  puts e.message
end
puts store.load("a")["data"].inspect
redis.expire("program:session:b", -1)
puts store.sessions_of("ann").inspect, store.destroy("c"), store.destroy("c"), store.sessions_of("ann").inspect
redis.hscan_each("program:session:a", count: 10).map(&:first).sort.each { |field| puts field }
