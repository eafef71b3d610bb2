# frozen_string_literal: true

class RedisCluster
  # The common commands with the arguments and results of redis-rb, for clients, pipelines and transactions.
  # Every other command is run by `call`, whose result is the server's reply.
  #
  # A class that includes this module defines `run(args, options, convert)`: the command, its options (`ex: 5` is
  # "EX" "5", `nx: true` is "NX"), and a function that converts the server's reply to redis-rb's result, or nil. It also
  # defines `respond(result)` for a command that needs no server.
  module Commands
    BOOLEAN = ->(reply) { reply.is_a?(Integer) ? reply.positive? : reply }
    BOOLEANS = ->(reply) { reply.map(&BOOLEAN) }
    # OK or nil.
    DONE = ->(reply) { reply == "OK" || (reply.nil? ? false : reply) }
    NOT_FINITE = {
      "inf" => Float::INFINITY, "-inf" => -Float::INFINITY, "nan" => Float::NAN, "-nan" => Float::NAN
    }.freeze
    # A double in RESP3, its text in RESP2.
    FLOAT = lambda do |reply|
      case reply
      when String then NOT_FINITE.fetch(reply) { Float(reply) }
      when Integer then reply.to_f
      else reply
      end
    end
    FLOATS = ->(reply) { reply.map(&FLOAT) }
    # Pairs and maps in RESP3, a flat list of their elements in RESP2.
    PAIRS = ->(reply) { reply.first.is_a?(Array) ? reply : reply.each_slice(2).to_a }
    SCORES = ->(reply) { PAIRS.call(reply).map { |member, score| [member, FLOAT.call(score)] } }
    SCORE = ->(reply) { SCORES.call(reply).first }
    HASH = ->(reply) { reply.is_a?(Array) ? reply.each_slice(2).to_h : reply }
    INTEGERS = ->(reply) { reply.map(&:to_i) }
    LINES = ->(text) { text.each_line(chomp: true).grep(/\A[^#]+:/).to_h { |line| line.split(":", 2) } }
    INFO = ->(reply) { reply.transform_values(&LINES) }
    ENTRIES = ->(reply) { reply.map { |id, fields| [id, HASH.call(fields)] } }
    STREAMS = ->(reply) { reply.to_a.to_h { |stream, entries| [stream, ENTRIES.call(entries)] } }
    SCANNED_PAIRS = ->(reply) { [reply[0], PAIRS.call(reply[1])] }
    SCANNED_SCORES = ->(reply) { [reply[0], SCORES.call(reply[1])] }

    # Commands that take the arguments of the server, by the conversion of their reply.
    TABLE = {
      nil => %i[
        ping echo dbsize publish spublish flushall randomkey
        get mget mset setex psetex getset getdel getex append strlen incr decr incrby decrby getrange setrange
        getbit setbit bitcount bitpos
        unlink touch exists ttl pttl type rename dump restore object bitop
        hget hset hmset hmget hdel hkeys hvals hlen hincrby hstrlen
        lpush rpush lpushx rpushx lpop rpop llen lrange lindex lset lrem ltrim linsert lmove lpos rpoplpush
        sadd srem smembers scard spop srandmember sinter sunion sdiff sinterstore sunionstore sdiffstore sscan
        zcard zcount zlexcount zrank zrevrank zrangebylex zrevrangebylex
        zremrangebyrank zremrangebyscore zremrangebylex
        pfcount xlen xdel xtrim xack xgroup
      ],
      BOOLEAN => %i[
        setnx msetnx renamenx copy expire pexpire expireat pexpireat persist hsetnx hexists sismember smove pfadd
      ],
      BOOLEANS => %i[smismember],
      DONE => %i[pfmerge],
      FLOAT => %i[incrbyfloat hincrbyfloat zscore zincrby],
      FLOATS => %i[zmscore],
      HASH => %i[hgetall],
      INTEGERS => %i[time],
      ENTRIES => %i[xrange xrevrange],
      SCANNED_PAIRS => %i[hscan],
      SCANNED_SCORES => %i[zscan]
    }.freeze

    TABLE.each do |convert, names|
      names.each do |name|
        (EXTENSION || RubyDispatch).define_command(self, name, name.to_s.upcase.freeze, convert)
      end
    end

    # The number of deleted keys. Without keys, nothing is sent.
    def del(*keys)
      keys = Convert.flatten(keys)
      keys.empty? ? respond(0) : run(["DEL", *keys], {}, nil)
    end

    # The variants with a question mark return true or false instead of a count.
    %i[exists sadd srem].each do |name|
      command = name.to_s.upcase.freeze
      define_method(:"#{name}?") { |*args| run([command, *args], {}, BOOLEAN) }
    end

    # Ranges. With with_scores: true, the result is pairs of member and score.
    %i[zrange zrevrange zrangebyscore zrevrangebyscore].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) do |key, first, last, **options|
        options = options.transform_keys { |option| option.to_s.delete("_") }
        run([command, key, first, last], options, options["withscores"] ? SCORES : nil)
      end
    end

    # One pair, or an array of pairs if count is above 1.
    %i[zpopmin zpopmax].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) do |key, count = nil|
        run([command, key, *count], {}, count.to_i > 1 ? SCORES : SCORE)
      end
    end

    # Waits until a list has an element, for at most timeout seconds; 0 means no limit.
    %i[blpop brpop].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) { |*keys, timeout: 0| run([command, *keys, timeout], {}, nil) }
    end

    %i[eval evalsha].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) do |script, keys = [], argv = []|
        keys, argv = keys.values_at(:keys, :argv).map(&:to_a) if keys.is_a?(Hash)
        run([command, script, keys.length, keys, argv], {}, nil)
      end
    end

    # The matching keys of the whole cluster. For large clusters use scan_each.
    def keys(pattern = "*")
      run(["KEYS", pattern], {}, nil)
    end

    # The INFO of each primary: {"127.0.0.1:7000"=>{"redis_version"=>"7.0.15", ...}, ...}.
    def info(*sections)
      run(["INFO", *sections], {}, INFO)
    end

    # The sorted elements of a list, set or sorted set; with store:, their number.
    def sort(key, by: nil, limit: nil, get: [], order: nil, store: nil)
      options = []
      Convert.add_option(options, :by, by)
      Convert.add_option(options, :limit, limit)
      Array(get).each { |pattern| Convert.add_option(options, :get, pattern) }
      options.concat(order.to_s.upcase.split)
      Convert.add_option(options, :store, store)
      run(["SORT", key, options], {}, nil)
    end

    # The number of members in the destination.
    %i[zunionstore zinterstore].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) do |destination, keys, weights: nil, aggregate: nil|
        options = []
        Convert.add_option(options, :weights, weights)
        Convert.add_option(options, :aggregate, aggregate)
        run([command, destination, Array(keys).length, keys, options], {}, nil)
      end
    end

    # The entries of each stream. All streams must be in one slot. block: waits up to that many milliseconds for
    # entries; 0 means no limit.
    def xread(keys, ids, count: nil, block: nil)
      options = []
      Convert.add_option(options, :count, count)
      Convert.add_option(options, :block, block)
      run(["XREAD", options, "STREAMS", keys, ids], {}, STREAMS)
    end

    # The same for a consumer of a consumer group.
    def xreadgroup(group, consumer, keys, ids, count: nil, block: nil, noack: nil)
      options = []
      Convert.add_option(options, :count, count)
      Convert.add_option(options, :block, block)
      Convert.add_option(options, :noack, noack)
      run(["XREADGROUP", "GROUP", group, consumer, options, "STREAMS", keys, ids], {}, STREAMS)
    end

    # "OK"; with nx or xx, whether the key was set; with get: true, the previous value.
    def set(key, value, **options)
      conditional = (options[:nx] || options[:xx]) && !options[:get]
      run(["SET", key, value], options, conditional ? DONE : nil)
    end

    # zadd(key, score, member) is true if the member is new; zadd(key, [[score, member], ...]) returns the number of
    # new members; incr: true returns the score.
    def zadd(key, *args, incr: nil, **options)
      flags = []
      options.merge(incr: incr).each { |name, value| Convert.add_option(flags, name, value) }
      convert = args.length == 1 ? nil : BOOLEAN
      run(["ZADD", key, flags, args], {}, incr ? FLOAT : convert)
    end

    # Whether the member was removed; of an array of members, how many were.
    def zrem(key, member)
      run(["ZREM", key, member], {}, member.is_a?(Array) ? nil : BOOLEAN)
    end

    # The entry's id.
    def xadd(key, entry, id: "*", approximate: nil, maxlen: nil, nomkstream: nil)
      options = []
      Convert.add_option(options, :nomkstream, nomkstream)
      Convert.add_option(options, :maxlen, maxlen && [*("~" if approximate), maxlen])
      run(["XADD", key, options, id, entry], {}, nil)
    end

    def mapped_mget(*keys)
      run(["MGET", *keys], {}, ->(values) { keys.flatten.zip(values).to_h })
    end

    def mapped_mset(hash)
      mset(hash)
    end

    def mapped_hmget(key, *fields)
      run(["HMGET", key, *fields], {}, ->(values) { fields.flatten.zip(values).to_h })
    end

    def mapped_hmset(key, hash)
      hmset(key, hash)
    end
  end
end
