package busybox

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"runsc/test/oci"
)

// cases are applet invocations by name.
var cases = map[string]string{
	"ash-arith":        `echo $((7*6)) $((1<<20)) $((17%5)) $((0x1f))`,
	"ash-background":   `for i in 1 2 3; do (sleep 0.0$i; echo $i >>o) & done; wait; sort o`,
	"ash-here-doc":     "cat <<E\na $((1+1))\nE\ncat <<'E'\n$x\nE",
	"ash-functions":    `f() { local x=$1; [ $x -le 1 ] && echo 1 && return; echo $((x * $(f $((x-1))))); }; f 6`,
	"ash-traps":        `trap 'echo bye' EXIT; trap 'echo usr1' USR1; kill -USR1 $$; echo end`,
	"ash-pipeline":     `seq 100 | while read x; do echo $((x*x)); done | tail -n 3`,
	"ash-pipe-status":  `false | true; echo $?; true | false; echo $?; ! true; echo $?`,
	"ash-redirects":    `{ echo out; echo err >&2; } 2>e >o; cat o e; exec 3>f; echo three >&3; exec 3>&-; cat f`,
	"ash-subshell":     `x=1; (x=2; echo $x); echo $x; y=$(echo a; exit 3); echo $y $?`,
	"ash-glob":         `touch a1 a2 b1; echo a* [ab]1 c*; set -f; echo a*`,
	"ash-case-loop":    `for w in one two 3; do case $w in [0-9]) echo num;; t*) echo t;; *) echo other;; esac; done`,
	"ash-getopts":      `set -- -a -b val rest; while getopts ab: o; do echo $o $OPTARG; done; shift $((OPTIND-1)); echo $1`,
	"ash-signals":      `sh -c 'kill -TERM $$'; echo $?; sh -c 'kill -KILL $$'; echo $?`,
	"ash-wait-status":  `(exit 7) & wait $!; echo $?`,
	"ash-killed-child": `sleep 100 & p=$!; { kill $p; wait $p; } 2>/dev/null; echo $?`,
	"ash-ulimit":       `ulimit -n 64; ulimit -n; sh -c 'ulimit -n'`,
	"ash-umask":        `umask 077; touch f; stat -c %a f; umask`,
	"ash-exit-codes":   `nosuchcommand; echo $?; touch x; ./x; echo $?; /; echo $?`,
	"ash-printf":       `printf '%05d|%-5s|%x|%c|%s\n' 42 ab 255 hello end`,
	"ash-read":         `printf 'a b c\nd\n' | { read x y; read z; echo "$y-$x-$z"; }`,
	"ash-string-ops":   `v=path/to/file.tar.gz; echo ${v##*/} ${v%%.*} ${v#*/} ${#v} ${u:-def}`,
	"ash-large-env":    `export BIG=$(head -c 50000 /dev/zero | tr '\0' x); sh -c 'echo ${#BIG}'`,
	"ash-many-procs":   `i=0; while [ $i -lt 60 ]; do true & i=$((i+1)); done; wait; echo ok`,
	"awk-sum":          `seq 1000 | awk '{s+=$1} END {print s, NR}'`,
	"awk-fields":       `printf 'a:b:c\nd:e:f\n' | awk -F: 'BEGIN{OFS="-"} {print $3,$1; n[$2]++} END {for (k in n) c++; print c}'`,
	"awk-pipe":         `awk 'BEGIN { "echo hi" | getline x; print x; print "z\na" | "sort"; close("sort"); system("echo sys") }'`,
	"base64":           `printf 'hello world' | base64; echo aGVsbG8= | base64 -d`,
	"basename-dirname": `basename /a/b.c .c; dirname /a/b/c; dirname x`,
	"bzip2":            `seq 2000 >f; bzip2 f; bzcat f.bz2 | tail -n 1; bunzip2 f.bz2; wc -c <f`,
	"cal":              `cal 2 2024`,
	"cat-stdin":        `echo x | cat - /etc/passwd | head -n 2`,
	"cat-missing":      `cat nothing`,
	"chmod-symbolic":   `touch f; for m in u+x g=rw o-r a+X u+s +t; do chmod $m f; stat -c %a f; done`,
	"chown":            `touch f; chown 12:34 f; stat -c '%u %g' f; chgrp 56 f; ls -ln f | awk '{print $3,$4}'`,
	"chroot":           `mkdir -p r/bin; cp /bin/busybox r/bin; chroot r /bin/busybox ls -a /`,
	"cksum":            `seq 100 | cksum; cksum /etc/passwd`,
	"cmp":              `echo abc >a; echo abd >b; cmp a b; echo $?; cmp a a; echo $?`,
	"comm":             `printf '1\n2\n3\n' >a; printf '2\n3\n4\n' >b; comm a b`,
	"cp-recursive":     `mkdir -p a/b/c; echo x >a/b/f; ln -s f a/b/l; cp -a a z; find z | sort; readlink z/b/l`,
	"cp-preserve":      `touch -d '2001-02-03 04:05:06' f; chmod 640 f; cp -p f g; stat -c '%a %Y' g`,
	"cpio":             `mkdir d; echo 1 >d/a; echo 2 >d/b; find d | sort | cpio -o -H newc 2>/dev/null >x.cpio; rm -r d; cpio -i <x.cpio 2>/dev/null; cat d/a d/b`,
	"cut":              `printf 'a,b,c\n1,2,3\n' | cut -d, -f2,3; echo abcdef | cut -c2-4`,
	"date-utc":         `date -u -d @1000000000 +'%Y-%m-%d %H:%M:%S'`,
	"dc":               `echo '2 3 ^ 5 + p' | dc`,
	"dd":               `dd if=/dev/zero of=f bs=1k count=10 2>/dev/null; dd if=f bs=512 skip=1 count=2 2>/dev/null | wc -c; dd if=/dev/zero of=f bs=1 count=1 seek=100000 conv=notrunc 2>/dev/null; stat -c %s f`,
	"diff":             `seq 10 >a; seq 1 2 20 >b; diff a b; diff -u a a; echo $?`,
	"du-sparse":        `dd if=/dev/zero of=f bs=1 count=1 seek=10000000 2>/dev/null; [ $(du -k f | cut -f1) -lt 100 ] && echo sparse`,
	"ed":               `printf 'a\nhello\nworld\n.\n1s/hello/bye/\nw f\nq\n' | ed -s 2>/dev/null; cat f`,
	"env":              `env -i A=1 B=2 /bin/env | sort`,
	"expand":           `printf 'a\tb\n' | expand -t 4; printf 'a   b\n' | unexpand -a -t 4`,
	"expr":             `expr 3 + 4; expr length hello; expr abc : 'a\(.\)'; expr 1 = 2`,
	"factor":           `factor 1001 97 65536`,
	"fallocate":        `fallocate -l 12345 f; stat -c %s f`,
	"find":             `mkdir -p a/b/c; touch a/1 a/b/2 a/b/c/3; ln -s 1 a/l; find a -type f | sort; find a -name '[12]' -exec echo got {} \; | sort; find a -type l; find a -maxdepth 1 | sort; find a -newer a/1 -type q`,
	"find-delete":      `mkdir -p d/e; touch d/1 d/e/2; find d -type f -delete; find d | sort`,
	"flock":            `flock f sh -c 'flock -n f echo no || echo locked'; flock -n f echo free`,
	"fold":             `echo abcdefghij | fold -w 4`,
	"grep":             `printf 'foo\nbar\nfoobar\n' >f; grep -n foo f; grep -c bar f; grep -v foo f; grep -E '^(foo|bar)$' f; grep -o 'o*b' f; grep zzz f; echo $?`,
	"grep-recursive":   `mkdir -p d/e; echo hit >d/1; echo hit >d/e/2; echo miss >d/3; grep -rl hit d | sort`,
	"gzip":             `seq 5000 >f; gzip -k f; gunzip -c f.gz | cmp - f && echo same; zcat f.gz | md5sum; printf bad >x.gz; gunzip x.gz; echo $?`,
	"head-tail":        `seq 20 >f; head -n 2 f; tail -n 2 f; head -c 5 f; tail -c 5 f; tail -n +19 f`,
	"hexdump":          `printf 'abc\0\377' | hexdump -C`,
	"hostname":         `hostname`,
	"id":               `id; id -u; id -G user; id user`,
	"install":          `echo x >f; install -m 755 f g; stat -c %a g; install -d a/b/c; ls a/b`,
	"kill-0":           `kill -0 $$ && echo alive; kill -0 99999; kill -l 9; kill -l TERM`,
	"link-unlink":      `echo x >a; link a b; stat -c %h a; unlink a; cat b`,
	"ln":               `echo x >f; ln f g; ln -s f h; stat -c %h f; readlink h; ln -s x f; ln -sf y h; readlink h`,
	"ls-long":          `touch -d '2020-01-01 00:00:00' a; mkdir d; ln -s a l; mkfifo p; chmod 4711 a; chmod 1777 d; ls -l | awk '{print $1,$2,$NF}' | sed 1d`,
	"ls-sorting":       `for i in 3 1 2; do head -c $i /dev/zero >f$i; touch -d "2020-01-0$i 00:00:00" f$i; done; ls -S; ls -t; ls -r; ls -1a; ls -p`,
	"md5sum-check":     `echo a >x; echo b >y; md5sum x y >s; md5sum -c s; echo c >y; md5sum -c s; echo $?`,
	"mkdir":            `mkdir -p a/b/c; mkdir a; echo $?; mkdir -m 700 p; stat -c %a p; mkdir x/y`,
	"mkfifo":           `mkfifo p; (echo through >p) & cat p; wait; stat -c %F p`,
	"mknod":            `mknod f p; mknod n c 1 3; echo gone >n; wc -c <n; stat -c '%F %t %T' n`,
	"mktemp":           `f=$(mktemp x.XXXXXX); stat -c '%a %s' $f; d=$(mktemp -d y.XXXXXX); stat -c %a $d`,
	"mount-tmpfs":      `mkdir m; mount -t tmpfs none m && echo x >m/f && ls m && umount m && ls m`,
	"mount-bind":       `mkdir a b; echo x >a/f; mount -o bind a b && cat b/f && mount -o remount,ro,bind b && touch b/g; echo $?; umount b`,
	"mv":               `echo 1 >a; echo 2 >b; mv a b; cat b; mkdir d; mv b d; ls d; mv d/b d/c; ls d; mv nothing x`,
	"nice":             `nice; nice -n 5 nice; nice -n 5 nice -n 3 nice`,
	"nl":               `printf 'a\n\nb\n' | nl`,
	"nohup":            `nohup echo hi 2>/dev/null </dev/null | cat`,
	"od":               `printf 'abc\n' | od -c; printf '\001\002\003\004' | od -An -tx4`,
	"paste":            `seq 3 >a; seq 4 6 >b; paste a b; paste -s -d, a`,
	"patch":            `printf '1\n2\n3\n' >f; printf -- '--- f\n+++ f\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n' | patch -p0; cat f`,
	"ping-loopback":    `ping -c 1 -W 2 127.0.0.1 >/dev/null; echo $?`,
	"printenv":         `A=b printenv A; printenv NOPE; echo $?`,
	"proc-self":        `cat /proc/self/comm; tr '\0' ' ' </proc/self/cmdline; readlink /proc/self/exe; readlink /proc/self/root`,
	"proc-fd":          `exec 5</etc/hosts; readlink /proc/$$/fd/5; cat /proc/$$/fd/5`,
	"ps":               `sleep 50 & sleep 0.2; ps -o comm | grep -c sleep; kill $!`,
	"pwd":              `mkdir -p a/b; ln -s a/b s; cd s; basename $(pwd -P); basename $(pwd -L)`,
	"readlink-f":       `mkdir d; ln -s d l; touch d/f; basename $(readlink -f l/f); readlink l/f; echo $?`,
	"realpath":         `mkdir -p a/b; [ $(realpath a/../a/b/.) = $PWD/a/b ] && echo ok; realpath nope/x`,
	"rev-tac":          `echo abc | rev; seq 3 | tac`,
	"rm":               `mkdir -p a/b; touch a/b/c; rm a; echo $?; rm -r a; ls; rm -f nope; echo $?; rm nope; echo $?`,
	"rmdir":            `mkdir -p a/b; rmdir a; echo $?; rmdir -p a/b; ls`,
	"sed":              `seq 5 | sed -n '2,3p'; echo hello | sed 's/l/L/g; y/o/0/'; seq 3 | sed '2i\new'; printf 'a\nb\n' >f; sed -i 's/a/A/' f; cat f; echo ab | sed -E 's/(a)(b)/\2\1/'`,
	"seq":              `seq 3; seq 2 2 6; seq -s, 1 5; seq -w 8 10`,
	"setsid":           `setsid sh -c 'echo in session'; setsid -c true 2>&1 | head -c 0; echo done`,
	"sha":              `printf abc | sha1sum; printf abc | sha256sum; printf abc | sha512sum`,
	"shuf":             `seq 10 | shuf | sort -n | tail -n 1`,
	"sleep":            `sleep 0.05; echo $?; sleep x; echo $?`,
	"sort":             `printf 'b 2\na 10\nc 1\n' >f; sort f; sort -k2 -n f; sort -r f; printf '1\n1\n2\n' | sort -u; sort -t: -k3 -n /etc/passwd | cut -d: -f1`,
	"split":            `seq 10 >f; split -l 4 f p; ls p*; cat p* | cmp - f; split -b 5 f q; ls q* | wc -l`,
	"stat":             `echo hello >f; touch -d '2010-10-10 10:10:10' f; chmod 600 f; stat -c '%n %s %a %F %h %u %g %Y' f; stat -c %F . /dev/null; stat nope`,
	"strings":          `printf 'ab\0hello world\001xyz\0' | strings`,
	"stty-no-tty":      `stty; echo $?; tty; echo $?`,
	"tar":              `mkdir -p d/e; echo 1 >d/a; echo 2 >d/e/b; ln -s a d/l; tar cf x.tar d; tar tf x.tar | sort; rm -r d; tar xf x.tar; cat d/a d/e/b; readlink d/l; tar czf x.tgz d; tar tzf x.tgz | wc -l`,
	"tee":              `echo x | tee a b; echo y | tee -a a; cat a b`,
	"test":             `touch f; mkdir d; ln -s f l; [ -f f ] && [ -d d ] && [ -L l ] && [ ! -e x ] && [ f -ef f ] && [ -r f ] && [ ! -s f ] && [ 3 -gt 2 ] && [ a != b ] && echo all`,
	"timeout":          `timeout 0.1 sleep 5; echo $?; timeout 5 echo in time; echo $?; timeout -s KILL 0.1 sleep 5; echo $?`,
	"touch":            `touch -d '2015-05-05 05:05:05' f; stat -c %Y f; touch -r f g; stat -c %Y g; touch -c nope; ls`,
	"tr":               `echo hello | tr a-y b-z; echo aabbcc | tr -s a-c; echo a1b2 | tr -d 0-9; echo abc | tr -c a '.'`,
	"truncate":         `truncate -s 5000 f; stat -c %s f; truncate -s -1000 f; stat -c %s f`,
	"tsort":            `printf 'a b\nb c\n' | tsort`,
	"tty-dev":          `ls -l /dev/null /dev/zero /dev/full /dev/random /dev/urandom | awk '{print $1,$5,$6,$NF}'; echo x >/dev/null; head -c 3 /dev/zero | od -An -tx1; echo x >/dev/full; echo $?`,
	"uname":            `uname -s; uname -m; uname -n`,
	"uniq":             `printf 'a\na\nb\na\n' | uniq -c; printf 'a\na\nb\n' | uniq -d; printf 'a\na\nb\n' | uniq -u`,
	"unshare":          `unshare -u sh -c 'hostname inner; hostname'; hostname; unshare -m sh -c 'mount -t tmpfs none /mnt; touch /mnt/x; ls /mnt'; ls /mnt`,
	"unshare-pid":      `unshare -p -f sh -c 'echo $$'`,
	"uuencode":         `echo data >f; uuencode f g | uudecode -o h; cat h`,
	"wc":               `printf 'one two\nthree\n' >f; wc f; wc -l f; wc -c f; wc -w <f`,
	"which":            `which ls sh nope; echo $?`,
	"whoami":           `whoami; logname 2>/dev/null; groups`,
	"xargs":            `seq 10 | xargs -n 3 echo; printf 'a\0b c\0' | xargs -0 -n1 echo; echo x | xargs -I{} echo '<{}>'; seq 20 | xargs -P 4 -n 1 true; echo $?; false | xargs false; echo $?`,
	"xxd":              `printf 'abcdef' | xxd; printf '616263' | xxd -r -p`,
	"xz":               `printf 'fd377a585a0000016922de360200210116000000742fe5a30100026869210a' >/dev/null; echo not-xz | xzcat; echo $?`,
	"yes":              `yes | head -n 3; yes no | head -n 1`,
	"permission-user":  `touch secret; chmod 600 secret; chmod 777 .; chroot --userspec=1000:1000 / /bin/busybox cat $PWD/secret 2>/dev/null || su user -c "cat $PWD/secret"; echo $?`,
	"deep-tree":        `p=.; for i in $(seq 40); do p=$p/d$i; done; mkdir -p $p; echo leaf >$p/f; find . -name f | wc -l; rm -r d1; ls`,
	"many-files":       `i=0; while [ $i -lt 300 ]; do : >f$i; i=$((i+1)); done; ls | wc -l; rm f1*; ls | wc -l`,
	"big-pipe":         `head -c 3000000 /dev/zero | tr '\0' a | wc -c; seq 30000 | sort -r | head -n 1`,
	"append-race":      `for i in 1 2 3 4; do (for j in $(seq 50); do echo line >>f; done) & done; wait; wc -l <f`,
	"open-unlinked":    `exec 3<>f; echo kept >&3; rm f; cat </proc/self/fd/3; ls`,
	"rename-over":      `echo old >a; exec 3<a; echo new >b; mv b a; cat <&3; cat a`,
	"symlink-loop":     `ln -s x y; ln -s y x; cat x; echo $?`,
	"noexec-script":    `printf '#!/bin/sh\necho ran $1\n' >s; ./s 1; echo $?; chmod +x s; ./s 2`,
	"watchdog-job":     `sleep 30 & j=$!; (sleep 0.1; kill -STOP $j; kill -CONT $j; kill $j) & wait $j; echo $?`,
	"dev-shm":          `echo x >/dev/shm/t; cat /dev/shm/t; rm /dev/shm/t; stat -c %a /dev/shm`,
	"nproc":            `[ $(nproc) -ge 1 ] && echo ok`,
	"free-df":          `free | awk 'NR==2 {print ($2 > 0)}'; df -k /tmp | awk 'NR==2 {print ($2 > 0)}'`,
	"shred":            `echo x >f; shred -u f; ls`,
	"renice":           `sh -c 'renice -n 4 -p $$ >/dev/null 2>&1; nice'`,
	"fifo-two-way":     `mkfifo a b; (while read l; do echo "got $l"; done <a >b) & exec 3>a 4<b; echo 1 >&3; read x <&4; echo $x; exec 3>&-; wait`,
}

const caseLimit = 10

func TestBusybox(t *testing.T) {
	oci.NeedRoot(t)
	names := make([]string, 0, len(cases))
	for n := range cases {
		names = append(names, n)
	}
	sort.Strings(names)
	want := native(t, names)
	for _, platform := range oci.Platforms() {
		name := platform
		if name == "" {
			name = "default"
		}
		t.Run(name, func(t *testing.T) {
			r := oci.New(t, platform)
			r.AddFlags("--net-raw") // for ping, which has nothing else
			before := r.TakeCensus()
			got := inside(t, r, names)
			for _, n := range names {
				t.Run(n, func(t *testing.T) {
					w, ok := want[n]
					if !ok {
						t.Fatal("gives no result natively")
					}
					g, ok := got[n]
					if !ok {
						t.Fatal("gives no result inside")
					}
					if strings.Contains(g, "Address family not supported") {
						t.Skip("the sandbox has no network yet: AF_INET is EAFNOSUPPORT (README, limits)")
					}
					if g != w {
						t.Errorf("differs:\n--- natively\n%s\n--- inside\n%s", w, g)
					}
				})
			}
			r.NoLeaks(t, before)
		})
	}
}

// rootfs makes a fresh root filesystem with the cases as scripts and a driver that runs
// those that it is given, leaving name.out (both streams, then the exit code) in /out.
func rootfs(t *testing.T) string {
	root := filepath.Join(oci.ShortDir(t), "rootfs")
	oci.BusyboxRootfs(t, root)
	for _, d := range []string{"cases", "out"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for n, script := range cases {
		if err := os.WriteFile(filepath.Join(root, "cases", n), []byte(script+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	driver := `cd /tmp
for n; do
	mkdir -p /tmp/w/$n; cd /tmp/w/$n
	timeout -s KILL ` + strconv.Itoa(caseLimit) + ` sh /cases/$n >/out/$n.part 2>&1 </dev/null
	echo "exit code $?" >>/out/$n.part
	mv /out/$n.part /out/$n.out
	cd /tmp; rm -rf /tmp/w/$n
done
`
	if err := os.WriteFile(filepath.Join(root, "driver"), []byte(driver), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

func results(root string, into map[string]string) {
	files, _ := filepath.Glob(filepath.Join(root, "out", "*.out"))
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil {
			into[strings.TrimSuffix(filepath.Base(f), ".out")] = string(data)
		}
	}
}

func missing(names []string, got map[string]string) (left []string) {
	for _, n := range names {
		if _, ok := got[n]; !ok {
			left = append(left, n)
		}
	}
	return left
}

func native(t *testing.T, names []string) map[string]string {
	root := rootfs(t)
	cmd := oci.NativeChroot(nil, root, oci.Spec().Process.Env, nil, append([]string{"/bin/sh", "/driver"}, names...)...)
	res := oci.Run(2*time.Minute, cmd)
	got := map[string]string{}
	results(root, got)
	if left := missing(names, got); len(left) > 0 {
		t.Fatalf("no native results of %v: %s", left, res.Out())
	}
	return got
}

func inside(t *testing.T, r *oci.Runtime, names []string) map[string]string {
	got := map[string]string{}
	run := func(limit time.Duration, names []string) {
		root := rootfs(t)
		b := oci.NewBundle(t, root, oci.Spec(append([]string{"/bin/sh", "/driver"}, names...)...))
		id := oci.ID("bb")
		res := r.Run(limit, "run", "--bundle", b.Dir, id)
		if res.TimedOut {
			r.Run(10*time.Second, "delete", "--force", id)
		}
		results(root, got)
		if res.Code != 0 {
			for _, n := range missing(names, got) {
				// The part that was written before the end says most.
				part, _ := os.ReadFile(filepath.Join(root, "out", n+".part"))
				if len(names) == 1 {
					got[n] = fmt.Sprintf("%s(container: %s)", part, res.Out())
				}
			}
		}
	}
	run(4*time.Minute, names)
	left := missing(names, got)
	for i, n := range left {
		if i == 30 {
			t.Errorf("%d more cases were not tried: too many gave nothing", len(left)-i)
			break
		}
		run(2*caseLimit*time.Second, []string{n})
	}
	return got
}
