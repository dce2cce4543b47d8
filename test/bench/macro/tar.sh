# Writing and unpacking an archive of 5,000 small files.
. /tests/measure.sh
n=$(scaled 5000)
tree files "$n"
measured tar tar -cf files.tar files
mkdir out
measured untar tar -xf files.tar -C out
want "files in the archive" "$n" "$(find out -type f | wc -l)"
