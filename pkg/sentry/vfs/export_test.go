package vfs

// CachedDentries is how many unreferenced dentries are kept now.
func (v *VFS) CachedDentries() int {
	v.cache.mu.Lock()
	defer v.cache.mu.Unlock()
	return v.cache.count
}
