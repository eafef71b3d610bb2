# frozen_string_literal: true

require_relative "support"

# The declarations match the header, and the gem can be built.
class NativeTest < Minitest::Test
  ROOT = File.expand_path("../../..", __dir__)
  HEADER = File.read(File.join(ROOT, "include/rediscluster.h"))
  # The types of ffi for each type of C.
  TYPES = {
    "void" => %i[void], "int32_t" => %i[int32], "int64_t" => %i[int64], "uint64_t" => %i[uint64],
    "size_t" => %i[size_t], "double" => %i[double], "rdc_wait_fn" => %i[pointer], "rdc_log_fn" => %i[pointer],
     "const char *" => %i[string buffer_in]
  }.freeze

  # name => [arguments, result], as in the header.
  def declared
    text = HEADER.gsub(%r{/\*.*?\*/}m, "").gsub(/^\s*#.*(\\\n.*)*$/, "").gsub(/\s+/, " ")
    text.scan(/([\w ]+[ *])(rdc_\w+)\(([^()]*)\);/).to_h do |result, name, arguments|
      arguments = arguments == "void" ? [] : arguments.split(",").map { |argument| argument.strip[/\A(.*?)\w+\z/, 1] }
      [name.to_sym, [arguments.map(&:strip), result.strip]]
    end
  end

  def fits?(type, c_type)
    TYPES.fetch(c_type) { c_type.end_with?("*") ? %i[pointer] : [] }.include?(type)
  end

  def test_functions_match_header
    header = declared
    assert_operator header.length, :>, 50
    RedisCluster::Native::FUNCTIONS.each do |name, (arguments, result)|
      assert header.key?(name), "#{name} is not in the header"
      c_arguments, c_result = header[name]
      assert_equal c_arguments.length, arguments.length, name
      arguments.zip(c_arguments).each { |type, c_type| assert fits?(type, c_type), "#{name}: #{c_type} as #{type}" }
      assert fits?(result, c_result), "#{name}: #{c_result} as #{result}"
    end
  end

  def test_functions_that_wait_are_blocking
    waiting = RedisCluster::Native::FUNCTIONS.select { |_, (_, _, blocking)| blocking }.keys
    network = %i[rdc_create_with rdc_command_resp rdc_command_to rdc_pipeline_execute rdc_pipeline_execute_atomic
                 rdc_refresh rdc_subscriber_next]
    assert_equal network, waiting
  end

  def test_types_and_errors_match_header
    numbers = HEADER.scan(/^#define RDC_(\w+) (\d+)$/).to_h { |name, number| [name, number.to_i] }
    errors = numbers.select { |name, _| name.start_with?("ERR_") }
    assert_equal errors.values.sort, RedisCluster::Error::CLASSES.keys
    types = numbers.reject { |name, _| name.match?(/\A(ERR_|VERSION_|OK\z)/) }
    types.each { |name, number| assert_equal number, RedisCluster::Native.const_get(name), name }
  end

  def test_version_matches_header
    parts = %w[MAJOR MINOR PATCH].map { |part| HEADER[/^#define RDC_VERSION_#{part} (\d+)$/, 1] }
    assert_equal parts.join("."), RedisCluster::VERSION
    assert_equal RedisCluster::VERSION, RedisCluster.library_version
  end

  SESSION = <<~RUBY
    require "rediscluster"
    rc = RedisCluster.new(ENV["RDC_URL"])
    rc.set("gem", "works")
    puts rc.get("gem"), File.read("/proc/self/maps")[%r{/\\S*librediscluster\\S*}]
    puts RedisCluster::EXTENSION.inspect, $LOADED_FEATURES.grep(%r{rediscluster/extension\\.so})
  RUBY

  # As a user would, from a copy. The library is only in the gem.
  def test_gem_is_built_installed_and_used
    in_copy do |source, folder|
      has_headers = File.exist?(File.join(RbConfig::CONFIG["rubyhdrdir"], "ruby.h"))
      file = build_gem(source, folder)
      ["", "no"].each do |choice|
        home = File.join(folder, "home#{choice}")
        install_gem(file, home, choice)
        printed, loaded, extension, from = run_installed(home).lines(chomp: true)
        assert_equal "works", printed
        assert loaded.start_with?(File.realpath(home)), loaded
        if has_headers && choice.empty?
          assert_equal "RedisCluster::Extension", extension
          assert from.start_with?(File.realpath(home)), from
        else
          assert_equal "nil", extension
        end
        installed = Dir["lib/**/*.rb", base: Dir["#{home}/gems/rediscluster-*"].first]
        assert_equal Dir["lib/**/*.rb", base: source].sort, installed.sort
      end
    end
  end

  # Without a compiler the installation succeeds, unless the extension is demanded.
  def test_gem_is_installed_without_compiler
    in_copy do |source, folder|
      file = build_gem(source, folder)
      home = File.join(folder, "home")
      without = "MAKE=/nonexistent PATH=/nonexistent"
      install_gem(file, home, "", without)
      assert_equal ["works", "nil"], run_installed(home).lines(chomp: true).values_at(0, 2)
      output = IO.popen(install_command(file, "#{home}2", "yes", without), err: %i[child out], &:read)
      refute $?.success?
      assert_match(/The C extension of rediscluster cannot be compiled/, output)
    end
  end

  # Yields a copy of the package with the library and its header, as `make gem` makes it, and a folder.
  def in_copy
    require "tmpdir"
    require "fileutils"
    Dir.mktmpdir do |folder|
      source = File.join(folder, "ruby")
      FileUtils.cp_r(File.expand_path("..", __dir__), source)
      FileUtils.cp(ENV.fetch("RDC_LIBRARY"), File.join(source, "lib/rediscluster/librediscluster.so.0"))
      FileUtils.cp(File.join(ROOT, "include/rediscluster.h"), File.join(source, "ext/rediscluster"))
      yield source, folder
    end
  end

  def build_gem(source, folder)
    file = File.join(folder, "it.gem")
    run_or_flunk("cd #{source} && gem build rediscluster.gemspec -o #{file}")
    file
  end

  def install_command(file, home, choice, environment = "")
    "env RDC_RUBY_EXTENSION=#{choice} #{environment} #{RbConfig.ruby} -rrubygems/gem_runner " \
      "-e 'Gem::GemRunner.new.run(ARGV)' -- install --local --ignore-dependencies --no-document " \
      "--install-dir #{home} #{file}"
  end

  def install_gem(*args)
    run_or_flunk(install_command(*args))
  end

  def run_installed(home)
    run_or_flunk("cd / && env -u RDC_LIBRARY -u LD_LIBRARY_PATH -u RDC_RUBY_EXTENSION " \
                 "GEM_PATH=#{home}:#{Gem.path.join(":")} #{RbConfig.ruby} -w -e '#{SESSION}'")
  end

  def run_or_flunk(command)
    output = IO.popen(command, err: %i[child out], &:read)
    assert $?.success?, output
    output
  end
end
