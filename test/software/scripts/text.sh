# sed, awk, perl, bc on text.
set -eu
seq 1 2000 | sed -n '/7$/p;10q' ; seq 5 | sed '1!G;h;$!d'
seq 10000 | awk '{s+=$1; a[$1%7]++} END {print s, length(a), a[3]}'
awk 'BEGIN { while (("seq 5" | getline x) > 0) t += x; print t; printf "%5.2f|%-5s|%x\n", 3.14159, "ab", 255 }'
awk -F: '{ print $1 > "names" } END { close("names"); while ((getline l < "names") > 0) n++; print n > 0 }' /etc/passwd
printf 'b,2\na,1\n' | sort -t, -k2 | sed 's/,/=/;s/\(.\)=\(.\)/\2:\1/'
perl -e 'my %h; $h{$_ % 10}++ for 1..1000; print join(",", map {"$_=$h{$_}"} sort keys %h), "\n"'
perl -MDigest::MD5=md5_hex -e 'print md5_hex("abc"), "\n"'
perl -e 'pipe(R, W); if (!fork) { close R; print W "from child\n"; exit 3 } close W; print <R>; wait; print $? >> 8, "\n"'
perl -e '$SIG{ALRM} = sub { print "alarm\n"; exit }; alarm 1; sleep 10'
perl -MSocket -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0); syswrite A, "sock\n"; sysread B, $x, 100; print $x'
perl -i.bak -pe 's/x/y/g' <(true); echo 'x x' >f; perl -i.bak -pe 's/x/y/g' f; cat f f.bak
perl -MFile::Find -e 'find(sub { $n++ }, "/etc"); print $n > 10 ? "found\n" : "few\n"'
perl -MTime::HiRes=sleep,time -e '$t = time; sleep 0.05; print time - $t >= 0.05 ? "slept\n" : "early\n"'
perl -e 'print "match $1\n" if "key=value" =~ /=(\w+)/; @a = sort { $b <=> $a } 3, 10, 2; print "@a\n"; printf "%s\n", scalar reverse "abc"'
echo '2^200; scale=20; 1/7' | bc; grep -c . /etc/passwd >/dev/null && echo grep
file -b --mime-type /bin/ls | sed 's/x-pie-executable/x-executable/;s/x-sharedlib/x-executable/'
