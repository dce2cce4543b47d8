# git: init, commits, branches, merges, clone, gc, fsck.
set -eu
export HOME=$PWD GIT_AUTHOR_DATE='2020-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2020-01-01 00:00:00 +0000'
git config --global user.name T; git config --global user.email t@example.org; git config --global init.defaultBranch main; git config --global advice.detachedHead false
git init -q repo; cd repo
for i in $(seq 30); do mkdir -p dir$((i%5)); seq $i 100 >dir$((i%5))/f$i; git add -A; git commit -q -m "commit $i"; done
git log --oneline | wc -l; git rev-parse HEAD; git status --short | wc -l
git checkout -q -b topic HEAD~10; echo topic >t; git add t; git commit -q -m topic; git checkout -q main; git merge -q -m merge topic; git log --oneline --merges | wc -l
echo change >dir1/f1; git diff --stat | tail -n 1; git stash -q; git status --short | wc -l; git stash pop -q; git checkout -q -- .
git tag -a v1 -m one; git describe; git blame dir0/f30 | wc -l; git grep -c 50 | wc -l
git gc -q; git fsck --full --strict 2>/dev/null && echo fsck fine; git count-objects -v | grep -E '^(count|packs)'
cd ..; git clone -q repo clone; cd clone; git log --oneline | wc -l; git rev-parse HEAD; echo x >x; git add x; git commit -q -m x; git push -q origin HEAD:refs/heads/pushed; cd ../repo; git rev-parse pushed
git archive HEAD | tar t | wc -l; git bundle create -q ../b.bundle main 2>/dev/null || git bundle create ../b.bundle main 2>/dev/null; git bundle verify ../b.bundle >/dev/null 2>&1 && echo bundle fine
git rebase -q --onto main~2 main~1 main && git log --oneline | wc -l
