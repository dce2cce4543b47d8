package vfs

// SetDentryLimit changes how many unreferenced dentries are kept.
func (v *VFS) SetDentryLimit(n int) { v.cache.limit = n }

// CachedDentries is how many unreferenced dentries are kept now.
func (v *VFS) CachedDentries() int {
	v.cache.mu.Lock()
	defer v.cache.mu.Unlock()
	return v.cache.count
}
