# Building this project with Go's tool chain, with nothing cached.
. /tests/measure.sh
what=./cmd/runsc
[ "$SIZE" -ge 100 ] || what=./test/gosum
cd /src
measured gobuild go build -trimpath -o /work/out "$what"
[ -x /work/out ]
