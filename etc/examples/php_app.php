<?php
// PHP: chat_session() gets the chat session; the login stands for your own.
//
//     WARMSIDE_PASSWORD=... php -S 127.0.0.1:8000 php_app.php

declare(strict_types=1);

// Return JID, SID and RID for the logged-in user. The JID comes from the login, never from the browser.
function chat_session(?string $user): array
{
    if ($user === null) {
        return [401, ['error' => 'log in first']];
    }
    $login = base64_encode('webapp:' . getenv('WARMSIDE_PASSWORD'));
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => "Authorization: Basic $login\r\nAccept: application/json\r\nContent-Type: application/json",
        // a bare JID: each tab gets its own session
        'content' => json_encode(['jid' => $user . '@' . (getenv('CHAT_HOST') ?: 'example.org')]),
        'timeout' => 15,
        'ignore_errors' => true,
    ]]);
    $reply = @file_get_contents((getenv('WARMSIDE') ?: 'http://127.0.0.1:5281') . '/warm', false, $context);
    if ($reply === false || !preg_match('~^HTTP/\S+ 200 ~', $http_response_header[0] ?? '')) {
        error_log('warmside: ' . ($http_response_header[0] ?? 'request failed') . ' ' . substr((string) $reply, 0, 500));
        return [502, ['error' => 'the chat is not available; try again later']];
    }
    return [200, json_decode($reply, true)];
}

session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Lax', 'use_strict_mode' => true]);
header('Cache-Control: no-store');
header('Content-Type: application/json');
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);

if ($path === '/chat-session') {
    [$status, $members] = chat_session($_SESSION['user'] ?? null);
} elseif ($path === '/login' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    // Replace this with your own login: it checks no password. A name with @ or / would change the JID.
    if (is_string($_POST['user'] ?? null) && preg_match('~^[a-z0-9.-]{1,40}$~D', $_POST['user'])) {
        session_regenerate_id(true);
        $_SESSION['user'] = $_POST['user'];
        [$status, $members] = [200, []];
    } else {
        [$status, $members] = [403, ['error' => 'no such user']];
    }
} elseif ($path === '/logout' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    // The page ends its chat session before it calls this.
    session_destroy();
    [$status, $members] = [200, []];
} else {
    [$status, $members] = [404, ['error' => 'not found']];
}
http_response_code($status);
echo json_encode((object) $members);
