# git clone over http, from outside to the sandbox and back.
. /tests/lib.sh
export HOME=/work GIT_AUTHOR_DATE='2020-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2020-01-01 00:00:00 +0000'
git config --global user.name T; git config --global user.email t@example.org; git config --global init.defaultBranch main
mkdir www; git init -q www/repo; cd www/repo
for i in $(seq 10); do seq $i 3000 >f$i; git add .; git commit -q -m "commit $i"; done
cd ..; git clone -q --bare repo repo.git; git -C repo.git update-server-info; cd ..
serve python3 -m http.server 8000 --bind :: --directory www
signal "ready-$side"; await ready-sandbox; await ready-outside
if [ $side = sandbox ]; then hosts="$OUT4 [$OUT6]" port=$OUT4; else hosts="$IN4 [$IN6]" port=$IN4; fi
port $port 8000
for host in $hosts; do
	git clone -q "http://$host:8000/repo.git" "clone-$host" && git -C "clone-$host" rev-parse HEAD && git -C "clone-$host" log --oneline | wc -l
done
signal "end-$side"; await end-sandbox; await end-outside
