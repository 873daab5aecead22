<?php
// PHP with a chat: sign-up, log-in, session, log-out. The accounts stand for your own.
//
//     WARMSIDE_PASSWORD=... php -S 127.0.0.1:8000 php_app.php

declare(strict_types=1);

require __DIR__ . '/warmside_client.php';

// Read or change the accounts, each with its bare JID: in your database, a unique column.
function accounts(?callable $change = null): array
{
    $file = fopen(getenv('ACCOUNTS') ?: sys_get_temp_dir() . '/chat-accounts.json', 'c+');
    flock($file, LOCK_EX);
    $jids = json_decode(stream_get_contents($file) ?: '{}', true);
    if ($change !== null) {
        $jids = $change($jids);
        rewind($file);
        ftruncate($file, 0);
        fwrite($file, json_encode((object) $jids));
    }
    fclose($file);
    return $jids;
}

// Return the JID of the logged-in user. It comes from the login, never from the browser.
function jid_of_user(): string
{
    return accounts()[$_SESSION['user'] ?? ''] ?? throw new LoggedOut();
}

// Create an account: the user exists for ejabberd from now on.
function sign_up(string $name): array
{
    $jid = announce(chat_jid($name));
    $taken = false;
    accounts(function (array $jids) use ($name, $jid, &$taken): array {
        $taken = isset($jids[$name]) || in_array($jid, $jids, true);
        return $taken ? $jids : $jids + [$name => $jid];
    });
    if ($taken) {
        return [409, ['error' => 'this name is taken']];
    }
    return log_in($name);
}

// Replace this with your own login: it checks no password.
function log_in(string $name): array
{
    $jid = accounts()[$name] ?? null;
    if ($jid === null) {
        return [403, ['error' => 'no such user']];
    }
    session_regenerate_id(true);
    $_SESSION['user'] = $name;
    return [200, ['jid' => $jid]];
}

// Log out: the cookie first, then every chat session of the user.
function log_out(): array
{
    $jid = accounts()[$_SESSION['user'] ?? ''] ?? null;
    session_destroy();
    if ($jid !== null) {
        end_chat($jid);
    }
    return [200, []];
}

session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Lax', 'use_strict_mode' => true]);
header('Cache-Control: no-store');
header('Content-Type: application/json');
$name = is_string($_POST['user'] ?? null) ? $_POST['user'] : '';
try {
    [$status, $members] = match ($_SERVER['REQUEST_METHOD'] . ' ' . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
        'POST /signup' => sign_up($name),
        'POST /login' => log_in($name),
        'POST /logout' => log_out(),
        'GET /chat-user' => [200, ['jid' => jid_of_user()]],
        'POST /chat-session' => [200, warm(jid_of_user())],
        'POST /chat-credentials' => [200, credential(jid_of_user())],
        // A web server asks it before a browser may connect to /ws; see etc/proxies.
        'GET /chat-allowed' => [204, ['jid' => jid_of_user()]],
        default => [404, ['error' => 'not found']],
    };
} catch (LoggedOut) {
    [$status, $members] = [401, ['error' => 'log in first']];
} catch (InvalidArgumentException $error) {
    [$status, $members] = [400, ['error' => $error->getMessage()]];
} catch (ChatUnavailable $error) {
    error_log('chat: ' . $error->getMessage());
    header("Retry-After: $error->retryAfter");
    [$status, $members] = [503, ['error' => 'the chat is not available; try again later']];
} catch (ChatRefused $error) {
    error_log('chat: ' . $error->getMessage());
    [$status, $members] = [403, ['error' => 'there is no chat for this account']];
}
http_response_code($status);
if ($status !== 204) {
    echo json_encode((object) $members);
}
