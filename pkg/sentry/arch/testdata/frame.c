/* Writes the frame that the host's kernel makes for a signal handler to standard output:
 * 8 words (rdi, rsi, rdx, rax, rsp, the stack pointer at the fault, rflags, size), then
 * memory from rsp on. The handler's registers are saved by the assembly entry. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ksigaction { void (*handler)(void); unsigned long flags; void (*restorer)(void); unsigned long mask; };

unsigned long saved[8];
static char altstack[65536] __attribute__((aligned(4096)));

__attribute__((used)) static void dump(void)
{
	saved[7] = 8192;
	write(1, saved, sizeof(saved));
	write(1, (void *)saved[4], 8192);
	_exit(0);
}

void entry(void);
void fault(void);
__asm__(
	"entry: mov %rdi, saved(%rip)\n mov %rsi, saved+8(%rip)\n mov %rdx, saved+16(%rip)\n mov %rax, saved+24(%rip)\n mov %rsp, saved+32(%rip)\n"
	"pushf\n pop %rax\n mov %rax, saved+48(%rip)\n and $-16, %rsp\n call dump\n"
	"restorer: mov $15, %eax\n syscall\n"
	"fault: sub $9000, %rsp\n mov %rsp, saved+40(%rip)\n std\n mov $0x1111, %r8d\n mov $0x2222, %r15d\n mov $0x3333, %edi\n movl $1, 0x18\n");
extern void restorer(void);

int main(int argc, char **argv)
{
	int alt = argc > 1 && !strcmp(argv[1], "alt");
	stack_t ss = {.ss_sp = altstack, .ss_size = sizeof(altstack)};
	if (alt)
		sigaltstack(&ss, 0);
	struct ksigaction sa = {entry, SA_SIGINFO | 0x04000000 | (alt ? SA_ONSTACK : 0), restorer, 1UL << 9};
	syscall(SYS_rt_sigaction, SIGSEGV, &sa, 0, 8);
	fault();
}
