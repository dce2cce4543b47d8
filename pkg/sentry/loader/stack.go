package loader

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
)

// Limits of execve(2), "Limits on size of arguments and environment", in bytes.
const (
	maxArgStrlen   = 131072
	minArguments   = 131072
	maxArguments   = 6 << 20
	maxArgStrings  = 0x7fffffff
	stackExtra     = 128 << 10 // stack that is there beyond the arguments
	stackMoveBelow = 8192      // the stack pointer is moved down by less than this
)

// Keys of the auxiliary vector (getauxval(3)).
const (
	atNull, atPhdr, atPhent, atPhnum, atPagesz, atBase, atFlags, atEntry = 0, 3, 4, 5, 6, 7, 8, 9
	atUID, atEUID, atGID, atEGID, atPlatform, atHWCap, atClkTck          = 11, 12, 13, 14, 15, 16, 17
	atSecure, atRandom, atHWCap2, atRseqFeatureSize, atRseqAlign         = 23, 25, 26, 27, 28
	atExecfn, atSysinfoEhdr, atMinSigStkSz                               = 31, 33, 51
)

// Values of AT_RSEQ_FEATURE_SIZE and AT_RSEQ_ALIGN: struct rseq up to mm_cid.
const (
	rseqFeatureSize = 28
	rseqAlign       = 32
)

// checkArguments enforces the limits: E2BIG.
func checkArguments(argv, envv []string, filename string, stackLimit uint64) error {
	if len(argv) > maxArgStrings || len(envv) > maxArgStrings {
		return unix.E2BIG
	}
	limit := max(min(stackLimit/4, maxArguments), minArguments)
	size := uint64(len(filename)+1) + 8*uint64(len(argv)+len(envv))
	for _, list := range [][]string{argv, envv} {
		for _, s := range list {
			if len(s) >= maxArgStrlen {
				return unix.E2BIG
			}
			if size += uint64(len(s) + 1); size > limit {
				return unix.E2BIG
			}
		}
	}
	if size > limit {
		return unix.E2BIG
	}
	return nil
}

// makeStack maps the stack and fills it.
//
// From the top: a null word, the file name, the environment, the arguments; then, after a
// random gap, the platform's name and 16 random bytes; then auxiliary vector, environment
// pointers, argument pointers and argument count, at the stack pointer.
func (l *loading) makeStack(img *elfImage, bias, base uint64, creds *auth.Credentials, secure bool) error {
	a := l.args
	top := l.m.stackTop()
	strs := uint64(8 + len(a.Filename) + 1)
	for _, list := range [][]string{l.argv, a.Envv} {
		for _, s := range list {
			strs += uint64(len(s) + 1)
		}
	}

	// Strings, lowest first.
	stringsAt := top - strs
	buf := make([]byte, 0, strs)
	pointers := func(list []string) []uint64 {
		p := make([]uint64, len(list))
		for i, s := range list {
			p[i] = stringsAt + uint64(len(buf))
			buf = append(append(buf, s...), 0)
		}
		return p
	}
	lay := &l.info.Layout
	lay.ArgStart = stringsAt
	argp := pointers(l.argv)
	lay.ArgEnd = stringsAt + uint64(len(buf))
	lay.EnvStart = lay.ArgEnd
	envp := pointers(a.Envv)
	lay.EnvEnd = stringsAt + uint64(len(buf))
	execfn := pointers([]string{a.Filename})[0]
	buf = append(buf, make([]byte, 8)...)

	// Platform and random bytes.
	sp := stringsAt &^ 15
	if !a.NoRandomize {
		sp = (sp - randomBelow(stackMoveBelow)) &^ 15
	}
	const platform = "x86_64\x00"
	sp -= uint64(len(platform))
	platformAt := sp
	sp -= 16
	randomAt := sp
	low := make([]byte, 16, 16+len(platform))
	rand.Read(low)
	low = append(low, platform...)

	ns := creds.UserNS
	auxv := make([]AuxEntry, 0, 24)
	add := func(k, v uint64) { auxv = append(auxv, AuxEntry{k, v}) }
	if lay.VDSO != 0 {
		add(atSysinfoEhdr, lay.VDSO)
	}
	add(atMinSigStkSz, uint64(arch.MinSignalStack()))
	add(atHWCap, uint64(arch.HWCap()))
	add(atPagesz, memmap.PageSize)
	add(atClkTck, 100)
	phdr := img.phdr
	if phdr != 0 {
		phdr += bias
	}
	add(atPhdr, phdr)
	add(atPhent, progHeadSize)
	add(atPhnum, img.phnum)
	add(atBase, base)
	add(atFlags, 0)
	add(atEntry, img.entry+bias)
	add(atUID, uint64(ns.UID(creds.RealUID)))
	add(atEUID, uint64(ns.UID(creds.EffectiveUID)))
	add(atGID, uint64(ns.GID(creds.RealGID)))
	add(atEGID, uint64(ns.GID(creds.EffectiveGID)))
	var sec uint64
	if secure {
		sec = 1
	}
	add(atSecure, sec)
	add(atRandom, randomAt)
	add(atHWCap2, uint64(arch.HWCap2()))
	add(atExecfn, execfn)
	add(atPlatform, platformAt)
	add(atRseqFeatureSize, rseqFeatureSize)
	add(atRseqAlign, rseqAlign)
	add(atNull, 0)
	l.info.Auxv = auxv

	words := 1 + len(argp) + 1 + len(envp) + 1 + 2*len(auxv)
	sp = (sp - 8*uint64(words)) &^ 15
	vec := make([]byte, 0, 8*words)
	put := func(vs ...uint64) {
		for _, v := range vs {
			vec = binary.LittleEndian.AppendUint64(vec, v)
		}
	}
	put(uint64(len(argp)))
	put(argp...)
	put(0)
	put(envp...)
	put(0)
	for _, e := range auxv {
		put(e.Key, e.Value)
	}

	length := memmap.PageUp(top - sp + stackExtra)
	at := memmap.AccessType{Read: true, Write: true, Execute: img.execStack}
	if err := l.m.mapStack(length, at); err != nil {
		return err
	}
	for _, part := range []struct {
		addr uint64
		b    []byte
	}{{sp, vec}, {randomAt, low}, {stringsAt, buf}} {
		if _, err := l.m.CopyOut(uintptr(part.addr), part.b); err != nil {
			return err
		}
	}
	l.info.StackPointer, lay.StackStart = sp, sp
	return nil
}
