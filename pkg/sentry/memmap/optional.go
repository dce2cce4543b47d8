package memmap

// HolePuncher is implemented by Mappables, or by the Identities of their mappings, whose pages madvise(2)'s MADV_REMOVE can free.
// It is called without locks of any MappingSpace, with a reference on the Identity held, and
// invalidates mappings as truncation does.
type HolePuncher interface {
	PunchHole(r Range) error
}

// Syncer is implemented by Mappables, or by the Identities of their mappings, that msync(2) with MS_SYNC writes back; called as
// HolePuncher is.
type Syncer interface {
	SyncMapped(r Range) error
}

// Anonymous is implemented by the Mappable of /dev/zero: mapping it is mapping anonymous
// memory (mmap(2) never asks it for anything else).
type Anonymous interface {
	MapsAnonymousMemory()
}
