package proc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"runsc/pkg/sentry/context"
)

// cpuid is the CPUID instruction.
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)

// flagWord names the bits of a register of a CPUID leaf as /proc/cpuinfo does; empty names
// are not shown.
type flagWord struct {
	leaf, subleaf uint32
	register      int // 0..3: eax, ebx, ecx, edx
	names         string
}

// flagWords are in the order in which Linux shows them. "-" is a bit without a name.
var flagWords = []flagWord{
	{1, 0, 3, "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"},
	{0x80000001, 0, 3, "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"},
	{0x80000007, 0, 3, "- - - - - - - - nonstop_tsc"},
	{1, 0, 2, "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor"},
	{0x80000001, 0, 2, "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx"},
	{7, 0, 1, "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
	{0xd, 1, 0, "xsaveopt xsavec xgetbv1 xsaves"},
	{7, 1, 0, "- - - - avx_vnni avx512_bf16"},
	{0x80000008, 0, 1, "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd"},
	{7, 0, 2, "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg - avx512_vpopcntdq - la57 - - - - - rdpid - - cldemote - movdiri movdir64b"},
	{7, 0, 3, "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - - - pconfig arch_lbr - - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities"},
}

// cpuText is one processor's stanza without its numbers.
var cpuText = sync.OnceValue(func() string {
	maxLeaf, vb, vc, vd := cpuid(0, 0)
	str := func(words ...uint32) string {
		var b []byte
		for _, w := range words {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		return strings.TrimSpace(strings.TrimRight(string(b), "\x00"))
	}
	vendor := str(vb, vd, vc)
	sig, misc, _, _ := cpuid(1, 0)
	family, model, stepping := sig>>8&15, sig>>4&15, sig&15
	if family == 6 || family == 15 {
		model |= sig >> 16 & 15 << 4
	}
	if family == 15 {
		family += sig >> 20 & 255
	}
	maxExt, _, _, _ := cpuid(0x80000000, 0)
	name := "unknown"
	if maxExt >= 0x80000004 {
		var w []uint32
		for l := uint32(0x80000002); l <= 0x80000004; l++ {
			a, b, c, d := cpuid(l, 0)
			w = append(w, a, b, c, d)
		}
		name = str(w...)
	}
	cache := uint32(0)
	if maxExt >= 0x80000006 {
		_, _, c, _ := cpuid(0x80000006, 0)
		cache = c >> 16
	}
	phys, virt := uint32(36), uint32(48)
	if maxExt >= 0x80000008 {
		a, _, _, _ := cpuid(0x80000008, 0)
		phys, virt = a&255, a>>8&255
	}
	var flags []string
	for _, w := range flagWords {
		if w.leaf < 0x80000000 && w.leaf > maxLeaf || w.leaf >= 0x80000000 && w.leaf > maxExt {
			continue
		}
		var r [4]uint32
		r[0], r[1], r[2], r[3] = cpuid(w.leaf, w.subleaf)
		for i, n := range strings.Fields(w.names) {
			if n != "-" && r[w.register]&(1<<i) != 0 {
				flags = append(flags, n)
			}
		}
	}
	flags = append(flags, "constant_tsc", "rep_good", "nopl", "cpuid")
	clflush := misc >> 8 & 255 * 8
	return fmt.Sprintf("vendor_id\t: %s\ncpu family\t: %d\nmodel\t\t: %d\nmodel name\t: %s\nstepping\t: %d\n"+
		"microcode\t: 0x1\ncpu MHz\t\t: %%.3[1]f\ncache size\t: %d KB\nphysical id\t: 0\nsiblings\t: %%[4]d\ncore id\t\t: %%[2]d\n"+
		"cpu cores\t: %%[4]d\napicid\t\t: %%[2]d\ninitial apicid\t: %%[2]d\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: %d\n"+
		"wp\t\t: yes\nflags\t\t: %s\nbugs\t\t:\nbogomips\t: %%.2[3]f\nclflush size\t: %d\ncache_alignment\t: %d\n"+
		"address sizes\t: %d bits physical, %d bits virtual\npower management:\n\n",
		vendor, family, model, strings.ReplaceAll(name, "%", ""), stepping, cache, maxLeaf,
		strings.Join(flags, " "), clflush, clflush, phys, virt)
})

func writeCPUInfo(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	mhz := 2000.0
	if v := fs.k.VDSO(); v != nil {
		if f := v.Frequency(); f > 0 {
			mhz = float64(f) / 1e6
		}
	}
	n := fs.k.NumCPU()
	for i := range n {
		fmt.Fprintf(b, "processor\t: %d\n", i)
		fmt.Fprintf(b, cpuText(), mhz, i, 2*mhz, n)
	}
	return nil
}
