# Compiling Python's standard library to a fresh cache.
. /tests/measure.sh
lib=/usr/lib/python3.11
[ "$SIZE" -ge 100 ] || lib=$lib/email
measured python python3 -X pycache_prefix=/work/cache -m compileall -q -f "$lib"
want "compiled files" "$(find "$lib" -name '*.py' -not -path '*/__pycache__/*' | wc -l)" "$(find "cache$lib" -name '*.pyc' | wc -l)"
