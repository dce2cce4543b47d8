# git add, commit and status of 5,000 small files.
. /tests/measure.sh
n=$(scaled 5000)
tree repo "$n"
cd repo
git init -q .
git config user.email bench@example.com
git config user.name bench
git config gc.auto 0
all() { git add . && git commit -q -m files && git status --short; }
measured git all
want "files in the commit" "$n" "$(git ls-files | wc -l)"
want "changes left" "" "$(git status --short)"
