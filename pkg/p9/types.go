package p9

import "golang.org/x/sys/unix"

// QID identifies a file on its server. Two files of one connection are the same inode if
// and only if their Paths are equal, as long as one of them is held by a fid.
type QID struct {
	Type    uint8
	Version uint32
	Path    uint64
}

// QIDTypeOf returns the QID type of a file of the given st_mode.
func QIDTypeOf(mode uint32) uint8 {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return QTDir
	case unix.S_IFLNK:
		return QTSymlink
	}
	return QTFile
}

// Time is a point in time, seconds and nanoseconds since 1970; the seconds may be negative.
type Time struct {
	Sec  int64
	Nsec int64
}

// Attr is what Tgetattr and the extensions' replies say of a file. Valid tells which fields
// the server filled in (AttrMode…).
type Attr struct {
	Valid       uint64
	QID         QID
	Mode        uint32
	UID         uint32
	GID         uint32
	NLink       uint64
	RDev        uint64 // as makedev(3)
	Size        uint64
	BlockSize   uint64
	Blocks      uint64 // of 512 bytes
	ATime       Time
	MTime       Time
	CTime       Time
	BTime       Time
	Gen         uint64
	DataVersion uint64
}

// SetAttr is what Tsetattr changes: the fields whose bit (SetMode…) is in Valid.
type SetAttr struct {
	Valid uint32
	Mode  uint32
	UID   uint32
	GID   uint32
	Size  uint64
	ATime Time
	MTime Time
}

// FSStat is the reply to Tstatfs.
type FSStat struct {
	Type            uint32
	BlockSize       uint32
	Blocks          uint64
	BlocksFree      uint64
	BlocksAvailable uint64
	Files           uint64
	FilesFree       uint64
	FSID            uint64
	NameLength      uint32
}

// Dirent is one entry of a directory. Offset is the cookie that continues behind it; Type
// is a DT_ constant of getdents64(2).
type Dirent struct {
	QID    QID
	Offset uint64
	Type   uint8
	Name   string
}

// encodedSize returns what the entry takes in Rreaddir.
func (d *Dirent) encodedSize() int { return qidSize + 8 + 1 + 2 + len(d.Name) }

// ValidName says whether name may stand for one component of a path: not empty, no '/' or
// NUL, not "." or "..", at most 255 bytes.
func ValidName(name string) bool {
	if len(name) == 0 || len(name) > maxName || name == "." || name == ".." {
		return false
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '/' || name[i] == 0 {
			return false
		}
	}
	return true
}

// checkName returns the errno for a name that ValidName refuses.
func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return unix.ENAMETOOLONG
	case !ValidName(name):
		return unix.EINVAL
	}
	return nil
}

// Makedev joins device numbers as makedev(3) does.
func Makedev(major, minor uint32) uint64 { return unix.Mkdev(major, minor) }
