<?php
// Messages with stream_select(): a channel, a pattern and a sharded channel.
// Run as: php -d ffi.enable=1 subscribe.php redis://127.0.0.1:7000  (or the URL in RDC_URL)
declare(strict_types=1);

$rdc = FFI::cdef(
    file_get_contents(getenv('RDC_CDEF') ?: '/usr/local/include/rediscluster.cdef.h'),
    getenv('RDC_LIBRARY') ?: 'librediscluster.so.0',
);

final class Subscriber
{
    private FFI\CData $subscriber;
    /** @var resource a stream on a duplicate of the descriptor, for stream_select() or the loop of a framework */
    private $readable;

    public function __construct(private FFI $rdc, FFI\CData $client)
    {
        $this->subscriber = $rdc->rdc_subscriber_new($client);
        $this->readable = fopen('php://fd/' . $rdc->rdc_subscriber_fd($this->subscriber), 'r');
    }

    /** Runs SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE or one of their UN-. It does not wait for the confirmation. */
    public function command(string ...$words): void
    {
        [$argv, $lens, $texts] = words($this->rdc, $words);
        check($this->rdc, $this->rdc->rdc_subscriber_command($this->subscriber, count($words), $argv, $lens));
    }

    /**
     * The next push, or null if there is none within the time.
     *
     * @return list<string>|null
     */
    public function next(float $seconds): ?array
    {
        $deadline = microtime(true) + $seconds;
        while (($push = $this->take()) === null) {
            $read = [$this->readable];
            $none = null;
            $left = max(0, $deadline - microtime(true));
            if (stream_select($read, $none, $none, (int) $left, (int) (1e6 * ($left - (int) $left))) === 0) {
                return null;
            }
        }
        return $push;
    }

    public function close(): void
    {
        fclose($this->readable); // before the library closes its own descriptor
        $this->rdc->rdc_subscriber_free($this->subscriber);
    }

    /** @return list<string>|null */
    private function take(): ?array
    {
        $reply = $this->rdc->rdc_subscriber_next($this->subscriber, 0); // does not wait
        $push = null;
        if ($this->rdc->rdc_reply_type($reply) === $this->rdc->RDC_ERROR) {
            fwrite(STDERR, text($this->rdc, $reply) . "\n"); // the library goes on by itself
        } elseif ($this->rdc->rdc_reply_type($reply) !== $this->rdc->RDC_NIL) {
            for ($i = 0; $i < $this->rdc->rdc_reply_len($reply); $i++) {
                $push[] = text($this->rdc, $this->rdc->rdc_reply_at($reply, $i));
            }
        }
        $this->rdc->rdc_reply_free($reply);
        return $push;
    }
}

/** The words of a command in C, and what keeps them alive. */
function words(FFI $rdc, array $words): array
{
    $argv = $rdc->new('const char *[' . count($words) . ']');
    $lens = $rdc->new('size_t[' . count($words) . ']');
    $texts = [];
    foreach ($words as $i => $word) {
        $texts[$i] = $rdc->new('char[' . (strlen($word) + 1) . ']');
        FFI::memcpy($texts[$i], $word, strlen($word));
        $argv[$i] = $rdc->cast('const char *', $texts[$i]);
        $lens[$i] = strlen($word);
    }
    return [$argv, $lens, $texts];
}

function text(FFI $rdc, FFI\CData $reply): string
{
    $bytes = $rdc->new('const char *[1]');
    $number = $rdc->new('int64_t');
    $rdc->rdc_reply_read($reply, $bytes, FFI::addr($number));
    return FFI::isNull($bytes[0]) ? (string) $number->cdata : FFI::string($bytes[0], $number->cdata);
}

/** Frees a reply, and ends the program if it is an error. */
function check(FFI $rdc, FFI\CData $reply): void
{
    $error = $rdc->rdc_reply_error($reply) !== 0 ? text($rdc, $reply) : null;
    $rdc->rdc_reply_free($reply);
    if ($error !== null) {
        exit("$error\n");
    }
}

/** This many pushes as sorted lines. */
function receive(Subscriber $subscriber, int $count): string
{
    $lines = [];
    while (count($lines) < $count) {
        $push = $subscriber->next(10) ?? exit("nothing was received in time\n");
        if ($push[0] === 'gap') { // messages of this channel may have been missed: read the state again
            fwrite(STDERR, "gap of $push[2]: $push[3]\n");
        } else {
            $lines[] = implode(' ', $push);
        }
    }
    sort($lines);
    return implode("\n", $lines) . "\n";
}

$rc = $rdc->rdc_create($argv[1] ?? getenv('RDC_URL'));
if (($message = $rdc->rdc_client_error($rc)) !== null) {
    exit("$message\n");
}
$subscriber = new Subscriber($rdc, $rc);
$subscriber->command('SUBSCRIBE', 'news');
$subscriber->command('PSUBSCRIBE', 'n*');
$subscriber->command('SSUBSCRIBE', 'orders'); // on the node of its slot
receive($subscriber, 3);
foreach ([['PUBLISH', 'news', 'hello'], ['SPUBLISH', 'orders', '42']] as $command) {
    [$args, $lens, $texts] = words($rdc, $command);
    check($rdc, $rdc->rdc_command($rc, count($command), $args, $lens));
}
echo receive($subscriber, 3);
$subscriber->command('UNSUBSCRIBE', 'news');
$subscriber->command('PUNSUBSCRIBE', 'n*');
$subscriber->command('SUNSUBSCRIBE', 'orders');
receive($subscriber, 3);
echo "unsubscribed\n";
$subscriber->close();
$rdc->rdc_close($rc);
