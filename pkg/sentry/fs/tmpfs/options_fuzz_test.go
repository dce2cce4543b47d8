package tmpfs

import "testing"

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"", "size=1m,mode=700", "size=50%", "nr_blocks=3,nr_inodes=1k", "uid=5,gid=6,huge=never", "size=,mode=,uid="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o := Options{}
		if ParseOptions(s, 1<<30, userNS, &o) == nil && o.Mode&^0o7777 != 0 {
			t.Fatalf("mode %o", o.Mode)
		}
	})
}
