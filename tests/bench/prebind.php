<?php
// Log users in with candy-chat/xmpp-prebind-php: php prebind.php FOLDER BOSH-URL HOST
//
// FOLDER is a checkout of that library. Each line of stdin is "USER PASSWORD". The reply is one line of JSON with the
// milliseconds, the session's sid, and the rid of its next request.

error_reporting(E_ERROR);
ini_set('display_errors', 'stderr');
[, $folder, $url, $host] = $argv;

// The library includes its logger also when it does not log. PHP 8 can't parse that file: an empty one is found first.
$empty = sys_get_temp_dir() . '/prebind-' . bin2hex(random_bytes(8));
mkdir("$empty/FirePHP", 0700, true);
touch("$empty/FirePHP/fb.php");
set_include_path($empty);
require "$folder/lib/XmppPrebind.php";
unlink("$empty/FirePHP/fb.php");
rmdir("$empty/FirePHP");
rmdir($empty);

while (($line = fgets(STDIN)) !== false) {
    [$user, $password] = explode(' ', rtrim($line, "\n"));
    try {
        $started = hrtime(true);
        $login = new XmppPrebind($host, $url, 'prebind' . random_int(0, PHP_INT_MAX), false, false);
        $login->connect($user, $password);
        $login->auth();
        $session = $login->getSessionInfo();
        $reply = ['ms' => (hrtime(true) - $started) / 1e6, 'sid' => $session['sid'], 'rid' => (int) $session['rid']];
    } catch (Exception $error) {
        $reply = ['error' => get_class($error) . ': ' . $error->getMessage()];
    }
    echo json_encode($reply), "\n";
}
