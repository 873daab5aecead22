# Runs in the chroot of bare_debian.sh, as root, with a Debian where only the packages and /opt/warmside are installed.
JID=juliet@localhost
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/var/lib/ejabberd
start() { # as the unit does: ExecStart=/bin/sh -c '/usr/sbin/ejabberdctl foreground', User=ejabberd
    setpriv --reuid ejabberd --regid ejabberd --init-groups /bin/sh -c '/usr/sbin/ejabberdctl foreground' >>/ejabberd.out 2>&1 &
    setpriv --reuid ejabberd --regid ejabberd --init-groups /usr/sbin/ejabberdctl started
}
stop() {
    setpriv --reuid ejabberd --regid ejabberd --init-groups /bin/sh -c '/usr/sbin/ejabberdctl stop && /usr/sbin/ejabberdctl stopped'
}
failed() {
    echo "FAILED: $1"
    tail -n 40 /ejabberd.out /var/log/ejabberd/ejabberd.log
    exit 1
}
. /etc/os-release
echo "==> $PRETTY_NAME, $(/opt/warmside/bin/python --version), ejabberd $(dpkg-query --show --showformat '${Version}' ejabberd)"
systemd-tmpfiles --create ejabberd.conf
setpriv --reuid ejabberd --regid ejabberd --init-groups epmd -daemon
start || failed "the stock ejabberd does not start"
cp -p /etc/ejabberd/ejabberd.yml /stock.yml
ls -la /etc/ejabberd /var/lib/ejabberd >/before.txt

echo "\$ warmside setup"
/opt/warmside/bin/warmside setup
echo "\$ warmside setup --apply"
/opt/warmside/bin/warmside setup --apply | tee /setup.txt
echo "\$ warmside setup --apply"
/opt/warmside/bin/warmside setup --apply | tee /second.txt
grep -q "Nothing to change" /second.txt || failed "the second run changes something"
stop
start || failed "ejabberd does not start with the new lines"

password=$(sed -n 's/.*: webapp //p' /setup.txt)
for attempt in $(seq 100); do
    curl -s -o /dev/null http://127.0.0.1:5281/health && break
    sleep 0.1
done
echo "\$ curl POST /warm"
curl -sS --user "webapp:$password" -H 'Accept: application/json' -d jid=$JID -w ' status %{http_code}\n' \
    http://127.0.0.1:5281/warm | sed 's/"sid": *"[^"]*"/"sid": "…"/' | tee /warm.txt
grep -q 'status 200' /warm.txt || failed "no warm session"
echo "\$ warmside check $JID"
/opt/warmside/bin/warmside check $JID || failed "warmside check finds errors"

echo "\$ warmside setup --remove"
stop
/opt/warmside/bin/warmside setup --remove
cmp /stock.yml /etc/ejabberd/ejabberd.yml || failed "ejabberd.yml is not as before"
for file in /etc/warmside /etc/ejabberd/warmside.yml /etc/tmpfiles.d/warmside.conf; do
    [ ! -e $file ] || failed "$file is left"
done
start || failed "ejabberd does not start after --remove"
stop
