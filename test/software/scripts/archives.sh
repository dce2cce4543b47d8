# tar, gzip, xz, bzip2, cpio-less round trips.
set -eu
mkdir -p src/a/b; seq 20000 >src/numbers; ln -s numbers src/link; ln src/numbers src/hard; mkfifo src/fifo; chmod 751 src/a
head -c 300000 /dev/zero >src/a/zeros; : >src/empty; touch -d @1234567890 src/a/b
for z in '' z j J; do
	tar c${z}f x.tar$z src; mkdir out; tar x${z}f x.tar$z -C out
	(cd out/src; readlink link; stat -c '%h %s' hard; stat -c '%F' fifo; stat -c %a a; stat -c %Y a/b; md5sum numbers a/zeros)
	rm -r out
done
tar cf - src | tar tf - | sort
tar --exclude='*/b' -cf - src | tar tvf - | awk '{print $1, $2}' | sort | uniq -c
gzip -k -9 src/numbers 2>/dev/null || gzip -9 <src/numbers >src/numbers.gz; zcat src/numbers.gz | md5sum; gzip -l src/numbers.gz | tail -n 1 | awk '{print $2}'
xz -k -T2 src/a/zeros; xz -dc src/a/zeros.xz | wc -c; bzip2 -t <(bzip2 -c src/numbers) && echo bzip2 fine
tar cf sparse.tar --sparse -C . src/a/zeros; tar df sparse.tar && echo no difference
printf 'broken' >bad.gz; gunzip bad.gz 2>/dev/null || echo "refused"
