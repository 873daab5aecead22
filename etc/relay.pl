#!/usr/bin/perl
# `warmside relay` for a machine without Python, such as ejabberd's container image. In ejabberd.yml:
#   extauth_program: "/usr/bin/perl /etc/warmside/relay.pl /run/warmside/extauth.sock"
# A request that the daemon does not answer within 5 s is rejected. The next one connects again.
use strict;
use warnings;
use IO::Select;
use IO::Socket::UNIX;

my ($path, $daemon) = ($ARGV[0] // '', undef);
$SIG{PIPE} = 'IGNORE';

sub take {    # return exactly $size bytes; undef at the end of the stream, or after the time $end
    my ($from, $size, $end, $data) = (@_, '');
    while (length $data < $size) {
        return undef if defined $end && !IO::Select->new($from)->can_read($end > time ? $end - time : 0);
        sysread($from, $data, $size - length $data, length $data) or return undef;
    }
    return $data;
}

while (defined(my $head = take(*STDIN, 2, undef))) {
    my ($end, $body, $answer) = (time + 5, take(*STDIN, unpack('n', $head), undef) // last);
    undef $daemon if $daemon && IO::Select->new($daemon)->can_read(0);    # closed, or out of step
    $daemon //= IO::Socket::UNIX->new(Peer => $path, Timeout => 1);
    $answer = take($daemon, 4, $end) if $daemon && defined syswrite($daemon, $head . $body);
    undef $daemon if ($answer // '') !~ /\A\x00\x02\x00[\x00\x01]\z/;
    syswrite(*STDOUT, $daemon ? $answer : "\0\2\0\0");
}
