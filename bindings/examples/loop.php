<?php
// Fibers of PHP 8.1 in an event loop: a fiber waits for its reply, and the others run.
// Run as: php -d ffi.enable=1 loop.php redis://127.0.0.1:7000  (or the URL in RDC_URL)
declare(strict_types=1);

$rdc = FFI::cdef(
    file_get_contents(getenv('RDC_CDEF') ?: '/usr/local/include/rediscluster.cdef.h'),
    getenv('RDC_LIBRARY') ?: 'librediscluster.so.0',
);

/** The commands in flight, by tag, and the timers, by time: each with the fiber that waits for it. */
final class Loop
{
    private FFI\CData $queue;
    private FFI\CData $tag;
    /** @var resource */
    private $readable;
    /** @var array<int, Fiber> */
    private array $waiting = [];
    /** @var list<array{float, Fiber}> */
    private array $timers = [];
    private int $last = 0;

    public function __construct(private FFI $rdc, FFI\CData $client)
    {
        $this->queue = $rdc->rdc_queue_new($client);
        $this->tag = $rdc->new('uint64_t');
        // A stream on a duplicate of the queue's descriptor, for stream_select() or the event loop of a framework.
        $this->readable = fopen('php://fd/' . $rdc->rdc_queue_fd($this->queue), 'r');
    }

    /** Runs a command, and returns its error code and its text. Nothing is sent before the loop runs the queue. */
    public function command(string ...$args): array
    {
        $tag = $this->submit(...$args);
        $this->waiting[$tag] = Fiber::getCurrent();
        return Fiber::suspend();
    }

    /** Runs a command for at most some seconds. */
    public function limited(float $seconds, string ...$args): array
    {
        $tag = $this->last + 1;
        $this->start(function () use ($seconds, $tag): void {
            $this->sleep($seconds);
            $this->rdc->rdc_queue_cancel($this->queue, $tag); // does nothing if the command is complete
        });
        return $this->command(...$args);
    }

    public function sleep(float $seconds): void
    {
        $this->timers[] = [microtime(true) + $seconds, Fiber::getCurrent()];
        Fiber::suspend();
    }

    public function start(callable $function): void
    {
        (new Fiber($function))->start();
    }

    /** Runs until no fiber waits. */
    public function run(): void
    {
        while ($this->waiting || $this->timers) {
            $due = $this->timers ? min(array_column($this->timers, 0)) : microtime(true) + 1;
            $read = [$this->readable];
            $none = null;
            if (stream_select($read, $none, $none, 0, (int) max(0, 1e6 * ($due - microtime(true))))) {
                $this->rdc->rdc_queue_run($this->queue, 0); // sends and receives what it can, without waiting
                $this->takeReplies();
            }
            $timers = $this->timers;
            $this->timers = array_values(array_filter($timers, fn (array $timer) => $timer[0] > microtime(true)));
            foreach ($timers as $timer) {
                if (!in_array($timer, $this->timers, true)) {
                    $timer[1]->resume();
                }
            }
        }
    }

    public function close(): void
    {
        fclose($this->readable); // before the queue closes its own descriptor
        $this->rdc->rdc_queue_free($this->queue);
    }

    private function submit(string ...$args): int
    {
        $bulk = fn (string $arg): string => '$' . strlen($arg) . "\r\n$arg\r\n";
        $resp = '*' . count($args) . "\r\n" . implode('', array_map($bulk, $args));
        $this->rdc->rdc_queue_resp($this->queue, ++$this->last, $resp, strlen($resp));
        return $this->last;
    }

    private function takeReplies(): void
    {
        while (($reply = $this->rdc->rdc_queue_next($this->queue, FFI::addr($this->tag))) !== null) {
            $sent = $this->rdc->rdc_reply_sent($reply) ? 'sent' : 'not sent';
            $error = $this->rdc->rdc_error_name($this->rdc->rdc_reply_error($reply));
            $result = [$error, text($this->rdc, $reply), $sent];
            $this->rdc->rdc_reply_free($reply);
            $fiber = $this->waiting[$this->tag->cdata];
            unset($this->waiting[$this->tag->cdata]);
            $fiber->resume($result); // the fiber may submit more: the descriptor is readable again
        }
    }
}

/** The text of a reply, or null if it has no text. */
function text(FFI $rdc, FFI\CData $reply): ?string
{
    $bytes = $rdc->new('const char *[1]');
    $length = $rdc->new('int64_t');
    $rdc->rdc_reply_read($reply, $bytes, FFI::addr($length));
    return FFI::isNull($bytes[0]) ? null : FFI::string($bytes[0], $length->cdata);
}

$rc = $rdc->rdc_create($argv[1] ?? getenv('RDC_URL'));
if (($message = $rdc->rdc_client_error($rc)) !== null) {
    exit("$message\n");
}
$loop = new Loop($rdc, $rc);
$sum = $ticks = 0;
$printed = [];

// A hundred fibers. The commands of all are in flight together, and leave as one batch for each shard.
for ($i = 0; $i < 100; $i++) {
    $loop->start(function () use ($loop, $i, &$sum): void {
        $loop->command('SET', "php:$i", (string) $i);
        [, $text] = $loop->command('GET', "php:$i");
        $sum += (int) $text;
    });
}
$loop->start(function () use ($loop, &$printed): void {
    $loop->command('SET', 'php:text', 'x');
    [, $text] = $loop->command('LPUSH', 'php:text', 'x');
    $printed[] = 'error: ' . strtok($text, ' ');
    [$error, , $sent] = $loop->limited(0.2, 'BLPOP', 'php:none', '0');
    $printed[] = "cancelled: $error, $sent";
});
$loop->start(function () use ($loop, &$ticks): void {
    for (; $ticks < 10; $ticks++) {
        $loop->sleep(0.01);
    }
});
$loop->run();
echo "values: $sum\n", implode("\n", $printed), "\n";
echo 'timer: ', $ticks === 10 ? 'ran' : 'did not run', " while commands were in flight\n";
$loop->close();
$rdc->rdc_close($rc);
