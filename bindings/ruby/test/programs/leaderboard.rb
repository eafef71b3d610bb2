# frozen_string_literal: true

# Leaderboards of players, by season and of all seasons, with pages, ranks and neighbours.
require "redis-clustering"

# The keys of a game are in one slot, so that boards can be combined.
class Leaderboard
  Row = Struct.new(:rank, :player, :score)

  def initialize(redis, game)
    @redis = redis
    @game = game
  end

  def score(season, player, points)
    @redis.zincrby(board(season), points, player)
  end

  # A score that only grows.
  def best(season, player, points)
    @redis.zadd(board(season), points, player, gt: true, ch: true)
  end

  def page(season, number, size: 3)
    first = (number - 1) * size
    rows = @redis.zrevrange(board(season), first, first + size - 1, with_scores: true)
    rows.each_with_index.map { |(player, score), i| Row.new(first + i + 1, player, score) }
  end

  def rank(season, player)
    rank, score = @redis.pipelined do |pipeline|
      pipeline.zrevrank(board(season), player)
      pipeline.zscore(board(season), player)
    end
    rank && Row.new(rank + 1, player, score)
  end

  def around(season, player, distance: 1)
    rank = @redis.zrevrank(board(season), player) or return []
    @redis.zrange(board(season), [rank - distance, 0].max, rank + distance, rev: true)
  end

  def all_time(seasons)
    boards = seasons.map { |season| board(season) }
    @redis.zunionstore(board("all"), boards, aggregate: "sum")
    @redis.expire(board("all"), 3600)
    page("all", 1, size: 10)
  end

  def between(season, low, high)
    @redis.zrangebyscore(board(season), low, high, withscores: true)
  end

  def drop_below(season, score)
    @redis.zremrangebyscore(board(season), "-inf", "(#{score}")
  end

  def remove(season, player)
    @redis.zrem(board(season), player)
  end

  def winners(season, count)
    @redis.zpopmax(board(season), count)
  end

  def reset(*seasons)
    @redis.del(*seasons.map { |season| board(season) })
  end

  private

  def board(season)
    "program:{#{@game}}:#{season}"
  end
end

redis = Redis::Cluster.new(nodes: ARGV)
board = Leaderboard.new(redis, "chess")
board.reset("spring", "summer", "all")
{ "ann" => 10, "bob" => 30.5, "cid" => 20, "dan" => 5 }.each { |player, points| board.score("spring", player, points) }
puts board.score("spring", "ann", 15.25)
puts board.best("spring", "dan", 4), board.best("spring", "dan", 8)
board.page("spring", 1).each { |row| puts row.to_a.inspect }
puts board.page("spring", 2).map(&:player).inspect
puts board.rank("spring", "cid").to_a.inspect, board.rank("spring", "nobody").inspect
puts board.around("spring", "ann").inspect, board.around("spring", "nobody").inspect
board.score("summer", "dan", Float::INFINITY)
puts board.all_time(%w[spring summer]).map(&:to_a).inspect
puts board.between("spring", 10, 26).inspect
puts board.drop_below("spring", 9), board.remove("spring", "nobody"), board.remove("spring", "cid")
puts board.winners("spring", 2).inspect, board.winners("spring", 1).inspect
puts redis.zcard("program:{chess}:spring"), redis.zmscore("program:{chess}:summer", "dan", "ann").inspect
