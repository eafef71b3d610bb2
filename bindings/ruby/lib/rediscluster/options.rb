# frozen_string_literal: true

class RedisCluster
  # The options of a client: those of CONFIGURATION.md, and those of redis-rb, redis-clustering and redis-client with
  # the same meaning. An option that would have no effect is refused, with the reason.
  module Options
    MILLISECONDS = ->(seconds) { (seconds * 1000).ceil }
    TEXT = :to_s.to_proc

    # The library's name of an option, and how its value is converted.
    RENAMED = {
      db: [:database, TEXT],
      username: [:user, TEXT],
      id: [:client_name, TEXT],
      read_timeout: [:attempt_timeout_ms, MILLISECONDS],
      write_timeout: [:attempt_timeout_ms, MILLISECONDS],
      connect_timeout: [:connect_timeout_ms, MILLISECONDS]
    }.freeze

    # Which nodes serve reads, by replica_affinity: of redis-clustering.
    AFFINITIES = { random: "replica", random_with_primary: "any", latency: "nearest" }.freeze

    REFUSED = {
      reconnect_attempts: "a read is sent again until timeout_ms has passed; retry_writes: true does this for writes",
      driver: "the parser of replies is the library's",
      inherit_socket: "a forked child opens connections of its own",
      sentinels: "Sentinel is not supported; pass the nodes of a cluster, or the url: of a server",
      name: "Sentinel is not supported; pass the nodes of a cluster, or the url: of a server",
      role: "Sentinel is not supported; readonly: true reads from replicas",
      fixed_hostname: "pass tls_server_name: for the name in the certificates, and address_map: for the addresses",
      slow_command_timeout: "pass timeout_ms:",
      concurrency: "pipelines are sent to all nodes in parallel, without threads",
      middlewares: "redis-client's middlewares do not see the library's calls",
      circuit_breaker: "a node that does not answer is avoided until it does",
      max_startup_sample: "one reachable node is enough"
    }.freeze

    TLS = { ca_file: :tls_ca_file, cert: :tls_cert_file, key: :tls_key_file, hostname: :tls_server_name }.freeze

    module_function

    # The library's options, with a url.
    def translate(url: nil, nodes: nil, host: nil, port: nil, path: nil, **options)
      refuse(options)
      translated = timeouts(options.delete(:timeout)).merge(replicas(options), tls(options.delete(:ssl_params)))
      url = address(url, nodes, host, port, path)
      url = url.sub(%r{\A(redis|valkey)://}, '\1s://') if options.delete(:ssl)
      options.each do |name, value|
        next if value.nil?

        name, convert = RENAMED.fetch(name, [name, Convert.method(:option)])
        translated[name] = convert.call(value)
      end
      { url: url }.merge(translated)
    end

    def refuse(options)
      options.each_key do |name|
        reason = REFUSED[name] or next
        raise InvalidError.new("INVALID #{name}: is not an option: #{reason}", code: "INVALID")
      end
    end

    # As redis-rb, the environment variable REDIS_URL, and then a server on this machine, if nothing is given.
    def address(url, nodes, host, port, path)
      return Convert.url(nodes) if nodes
      return Convert.socket_url(path) if path
      return Convert.url([{ host: host || "127.0.0.1", port: port }]) if host || port

      url || ENV.fetch("REDIS_URL", "redis://127.0.0.1:6379")
    end

    # redis-rb's timeout is that of one attempt. A call may take several, but not be shorter than one.
    def timeouts(seconds)
      return {} unless seconds

      milliseconds = MILLISECONDS.call(seconds)
      limits = { attempt_timeout_ms: milliseconds, connect_timeout_ms: milliseconds }
      milliseconds > 5_000 ? limits.merge(timeout_ms: milliseconds) : limits
    end

    def replicas(options)
      affinity = options.delete(:replica_affinity) || :random
      return {} unless options.delete(:replica)

      { read_from: AFFINITIES.fetch(affinity.to_sym) do
        raise InvalidError.new("INVALID replica_affinity: is #{affinity.inspect}; pass one of " \
                               "#{AFFINITIES.keys.join(", ")}", code: "INVALID")
      end }
    end

    # The options of OpenSSL that name files, and verify_mode.
    def tls(params)
      (params || {}).to_h do |name, value|
        next [:tls_insecure_skip_verify, value.to_i.zero? ? "yes" : "no"] if name.to_sym == :verify_mode

        option = TLS[name.to_sym]
        next [option, value] if option && value.is_a?(String)

        raise InvalidError.new("INVALID ssl_params: #{name} is not a file; pass the files as tls_ca_file:, " \
                               "tls_cert_file: and tls_key_file:", code: "INVALID")
      end
    end
  end
end
