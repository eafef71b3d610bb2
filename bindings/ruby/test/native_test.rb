# frozen_string_literal: true

require_relative "support"

# The declarations are those of the header, and the gem can be built.
class NativeTest < Minitest::Test
  ROOT = File.expand_path("../../..", __dir__)
  HEADER = File.read(File.join(ROOT, "include/rediscluster.h"))
  # How ffi calls what C calls so.
  TYPES = {
    "void" => %i[void], "int32_t" => %i[int32], "int64_t" => %i[int64], "size_t" => %i[size_t],
    "double" => %i[double], "rdc_wait_fn" => %i[pointer], "const char *" => %i[string buffer_in]
  }.freeze

  # name => [arguments, result], as the header writes them.
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

  def test_each_function_is_declared_as_in_the_header
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

  def test_what_waits_for_a_server_lets_other_threads_run
    waiting = RedisCluster::Native::FUNCTIONS.select { |_, (_, _, blocking)| blocking }.keys
    network = %i[rdc_create_with rdc_command_resp rdc_command_to rdc_pipeline_execute rdc_pipeline_execute_atomic
                 rdc_refresh]
    assert_equal network, waiting
  end

  def test_types_and_errors_have_the_numbers_of_the_header
    numbers = HEADER.scan(/^#define RDC_(\w+) (\d+)$/).to_h { |name, number| [name, number.to_i] }
    errors = numbers.select { |name, _| name.start_with?("ERR_") }
    assert_equal errors.values.sort, RedisCluster::Error::CLASSES.keys
    types = numbers.reject { |name, _| name.match?(/\A(ERR_|VERSION_|OK\z)/) }
    types.each { |name, number| assert_equal number, RedisCluster::Native.const_get(name), name }
  end

  def test_versions_agree
    parts = %w[MAJOR MINOR PATCH].map { |part| HEADER[/^#define RDC_VERSION_#{part} (\d+)$/, 1] }
    assert_equal parts.join("."), RedisCluster::VERSION
    assert_equal RedisCluster::VERSION, RedisCluster.library_version
  end

  def test_the_gem_can_be_built
    require "tmpdir"
    require "rubygems/package"
    Dir.mktmpdir do |dir|
      path = File.join(dir, "rediscluster.gem")
      Dir.chdir(File.expand_path("..", __dir__)) do
        output = IO.popen(["gem", "build", "rediscluster.gemspec", "-o", path], err: %i[child out], &:read)
        assert $?.success?, output
      end
      files = Gem::Package.new(path).spec.files
      Dir.chdir(File.expand_path("..", __dir__)) { assert_equal [], Dir["lib/**/*.rb"] - files }
    end
  end
end
