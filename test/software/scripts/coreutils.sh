# coreutils over a tree of 5,000 files.
set -eu
mkdir tree; cd tree
for d in $(seq 50); do mkdir d$d; (cd d$d; for f in $(seq 100); do echo "$d $f" >f$f; done); done
cd ..
find tree -type f | wc -l
find tree -xdev -name 'f1*' | wc -l
find tree -type f -print0 | sort -z | xargs -0 cat | md5sum
cp -a tree copy; diff -r tree copy && echo same
ls -lR copy | wc -l
du -s --apparent-size copy >/dev/null
chmod -R go-rwx copy; find copy -perm /077 | wc -l
ln -s tree link; find -L link -type f | wc -l
find copy -name 'f*5' -delete; find copy -type f | wc -l
cp -al tree hard; stat -c %h hard/d1/f1; rm -r hard; stat -c %h tree/d1/f1
sort -R tree/d1/* | sort -n -k2 | tail -n 1
split -n 5 <(seq 10000) part. 2>/dev/null || seq 10000 | split -l 2000 - part.; cat part.* | md5sum
seq 100000 | shuf --random-source=/bin/true | sort -n | md5sum
seq 100000 | tac | head -n 1; seq 10 | factor | tail -n 1
join <(seq 5 | nl) <(seq 3 7 | nl) | wc -l
comm -12 <(seq 10 | sort) <(seq 5 15 | sort) | wc -l
touch -d @1000000000 old; stat -c %Y old; date -u -r old +%F
dd if=/dev/zero of=big bs=1M count=20 status=none; stat -c %s big; sha256sum big | cut -c1-16
truncate -s 1G sparse; stat -c %s sparse; [ $(du -k sparse | cut -f1) -lt 1024 ] && echo sparse
cp --sparse=always sparse sparse2; cmp sparse sparse2 && echo equal
mktemp -d tmp.XXXX | wc -c; install -m 640 -D old a/b/c; stat -c %a a/b/c
rm -rf copy; mv tree moved; ls moved | wc -l; rm -rf moved
df --output=target . | tail -n 1 | wc -l
tail -f -n 1 --pid=$$ old >/dev/null & sleep 0.2; kill $!; wait $! || echo tail ended
env -i X=1 env; nice -n 3 nice; timeout 5 true && echo in time; stdbuf -oL echo line
numfmt --to=iec 1048576; basename -a a/b c/d; realpath --relative-to=/usr /usr/bin
