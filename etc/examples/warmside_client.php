<?php
// The calls of a web application to warmside: copy this file. It needs the extension intl.
// Set WARMSIDE, WARMSIDE_PASSWORD and CHAT_HOST in the environment.

declare(strict_types=1);

// warmside or ejabberd does not respond, or is busy. Try again after $retryAfter seconds.
class ChatUnavailable extends Exception
{
    public function __construct(string $reason, public int $retryAfter = 5)
    {
        parent::__construct($reason);
    }
}

// The call can't succeed: show the user that there is no chat, and read the message in your log.
class ChatRefused extends Exception
{
}

// The user was logged out while the session was made. Respond as to a user who is not logged in.
class LoggedOut extends Exception
{
}

// Return the bare JID of a user of your site, for any name (XEP-0106). ejabberd prepares a JID: it drops invisible
// characters, folds case and normalizes (NFKC). So that is done first, and then the escaping. Otherwise the escapes of
// one name could be the text of another one.
function chat_jid(string $name): string
{
    $ignored = '/[\x{ad}\x{34f}\x{1806}\x{180b}-\x{180d}\x{200b}-\x{200d}\x{2060}\x{fe00}-\x{fe0f}\x{feff}]/u';
    $name = preg_replace($ignored, '', $name);
    $name = $name === null ? '' : trim(Transliterator::create('NFKC; Lower; NFKC')->transliterate($name), ' ');
    if ($name === '') {
        throw new InvalidArgumentException('a name needs a character other than spaces');
    }
    $name = preg_replace('/\\\\(?=20|22|26|27|2f|3a|3c|3e|40|5c)/', '\\\\5c', $name);
    $escape = fn(array $found): string => sprintf('\\%02x', ord($found[0]));
    return preg_replace_callback('/[ "&\'\/:<>@]/', $escape, $name) . '@' . (getenv('CHAT_HOST') ?: 'example.org');
}

// Announce a new user, so that others can write before the first login. Store the JID that is returned. Names of your
// site that are one account for ejabberd get the same JID: refuse the second one.
function announce(string $jid): string
{
    return warmside('POST', '/users', ['jids' => [$jid]])['jids'][0];
}

// Forget a user, and end the user's sessions. `ejabberdctl unregister` removes what ejabberd has stored.
function remove(string $jid): void
{
    warmside('DELETE', '/users/' . rawurlencode($jid));
}

// Return a session for the browser to attach to. Each tab needs its own.
function warm(string $jid, array $fields = []): array
{
    return warmside('POST', '/warm', ['jid' => $jid] + $fields);
}

// Return a one-time password for a client that logs in itself, such as Converse.js over WebSocket.
function credential(string $jid): array
{
    return warmside('POST', '/credentials', ['jid' => $jid]);
}

// End all chat sessions of a user. Call it at the log-out; try it again if it throws ChatUnavailable.
function end_chat(string $jid): void
{
    warmside('POST', '/end', ['jid' => $jid]);
}

function warmside(string $method, string $path, ?array $fields = null): array
{
    $login = base64_encode((getenv('WARMSIDE_LOGIN') ?: 'webapp') . ':' . getenv('WARMSIDE_PASSWORD'));
    $context = stream_context_create(['http' => [
        'method' => $method,
        'header' => "Authorization: Basic $login\r\nAccept: application/json\r\nContent-Type: application/json",
        'content' => $fields === null ? '' : json_encode($fields),
        'timeout' => 15,
        'ignore_errors' => true,
    ]]);
    $reply = @file_get_contents((getenv('WARMSIDE') ?: 'http://127.0.0.1:5281') . $path, false, $context);
    if ($reply === false || !preg_match('~^HTTP/\S+ (\d+)~', $http_response_header[0] ?? '', $found)) {
        throw new ChatUnavailable("$path: no response");
    }
    $status = (int) $found[1];
    $reason = "$path: " . substr($reply, 0, 500);
    if (in_array($status, [429, 502, 503, 504], true)) {
        $header = implode("\n", $http_response_header);
        $retryAfter = preg_match('~^Retry-After: (\d+)~mi', $header, $found) ? (int) $found[1] : 5;
        throw new ChatUnavailable($reason, $retryAfter);
    }
    if ($status === 409 && $path === '/warm') {
        throw new LoggedOut();
    }
    if ($status >= 300) {
        throw new ChatRefused($reason);
    }
    return $reply === '' ? [] : json_decode($reply, true);
}
