# gcc compiles, links and its programs run; make -j2 with dependencies.
set -eu
cat >hello.c <<'C'
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static void *twice(void *p) { *(int *)p *= 2; return NULL; }
int main(int argc, char **argv)
{
	int x = 21; pthread_t t;
	pthread_create(&t, NULL, twice, &x); pthread_join(t, NULL);
	printf("%d %s %.3f\n", x, argc > 1 ? argv[1] : "-", sqrt(2));
	return atoi(argc > 2 ? argv[2] : "0");
}
C
gcc -O2 -Wall -o hello hello.c -pthread -lm; ./hello arg 7 || echo "code $?"
gcc -static -o hello-static hello.c -pthread -lm; ./hello-static
gcc -g -fsanitize=undefined -o ub hello.c -pthread -lm && ./ub || echo "ubsan $?"
echo 'int f(void) { return 5; }' >lib.c; gcc -shared -fPIC -o libf.so lib.c
echo 'int f(void); int main(void) { return f(); }' >use.c; gcc -o use use.c -L. -lf; LD_LIBRARY_PATH=. ./use || echo "shared: $?"
echo 'int main(void) { return *(volatile int *)0; }' >crash.c; gcc -w -o crash crash.c; bash -c './crash; exit $?' 2>/dev/null || echo "crash: $?"
echo 'int main( { }' >bad.c; gcc bad.c 2>/dev/null || echo "bad: $?"
mkdir proj; cd proj
for i in $(seq 24); do echo "int f$i(int x) { int s = 0; for (int i = 0; i < x; i++) s += i * $i; return s; }" >f$i.c; done
{ for i in $(seq 24); do echo "int f$i(int);"; done; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'; for i in $(seq 24); do echo "s += f$i(10);"; done; echo 'printf("%d\n", s); return 0; }'; } >main.c
printf 'OBJ = $(patsubst %%.c,%%.o,$(wildcard *.c))\nprog: $(OBJ)\n\t@$(CC) -o $@ $^\n%%.o: %%.c\n\t@$(CC) -O1 -c -o $@ $<\nclean:\n\trm -f *.o prog\n' >Makefile
make -s -j2; ./prog; make -s -j2 | wc -c; touch f3.c; make -n | wc -l; make -s -j2; ./prog; make -s clean; ls | wc -l
make nosuch 2>&1 | grep -c 'No rule'
