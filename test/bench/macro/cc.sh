# make -j2 of a C program of 50 files.
. /tests/measure.sh
n=$(scaled 50)
mkdir cc
for ((i = 0; i < n; i++)); do
	{
		printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n'
		for ((f = 0; f < 20; f++)); do
			printf 'static int f%d_%d(const char *s, int n)\n{\n\tint a[16], sum = %d;\n\tfor (int i = 0; i < 16; i++)\n\t\ta[i] = n * i + (int)strlen(s);\n\tfor (int i = 0; i < 16; i++)\n\t\tsum += a[(i * 7) %% 16] ^ sum >> 3;\n\treturn sum;\n}\n' $i $f $f
		done
		printf 'int part%d(const char *s)\n{\n\tint sum = 0;\n' $i
		for ((f = 0; f < 20; f++)); do printf '\tsum += f%d_%d(s, sum);\n' $i $f; done
		printf '\treturn sum;\n}\n'
	} >cc/part$i.c
done
{
	for ((i = 0; i < n; i++)); do echo "int part$i(const char *s);"; done
	printf '#include <stdio.h>\nint main(void)\n{\n\tint sum = 0;\n'
	for ((i = 0; i < n; i++)); do echo "	sum += part$i(\"x\") != 0;"; done
	printf '\tprintf("%%d\\n", sum);\n\treturn 0;\n}\n'
} >cc/main.c
printf 'OBJS = $(patsubst %%.c,%%.o,$(wildcard *.c))\nprog: $(OBJS)\n\tgcc -o $@ $(OBJS)\n%%.o: %%.c\n\tgcc -O1 -c -o $@ $<\n' >cc/Makefile
measured cc make -C cc -j2
want "parts that say something" "$n" "$(cc/prog)"
