package p9

// Versions. The extensions' version counts up from 1; the last is what this package offers.
const (
	versionPlain     = "9P2000.L"
	versionExtended  = "9P2000.L.runsc." // and a decimal number
	ExtensionVersion = 3

	// extensionChannel is the first version that has channels as they are now.
	extensionChannel = 3
)

// Message types of 9P2000.L. A reply's type is the request's plus one. In the layouts, s is
// a string, qid is type[1] version[4] path[8].
const (
	tLerror  = 6 // illegal as a request
	rLerror  = 7 // ecode[4]
	tStatfs  = 8 // fid[4] → type[4] bsize[4] blocks[8] bfree[8] bavail[8] files[8] ffree[8] fsid[8] namelen[4]
	tLopen   = 12
	rLopen   = 13 // fid[4] flags[4] → qid iounit[4]
	tLcreate = 14 // fid[4] name[s] flags[4] mode[4] gid[4] → qid iounit[4]
	tSymlink = 16 // fid[4] name[s] target[s] gid[4] → qid
	tMknod   = 18 // dfid[4] name[s] mode[4] major[4] minor[4] gid[4] → qid
	tRename  = 20 // refused: a fid is an inode here, not a path; use Trenameat

	tReadlink    = 22 // fid[4] → target[s]
	tGetattr     = 24 // fid[4] mask[8] → valid[8] qid attr (see encoder.attr)
	tSetattr     = 26 // fid[4] valid[4] mode[4] uid[4] gid[4] size[8] atime[16] mtime[16]
	tXattrwalk   = 30 // fid[4] newfid[4] name[s] → size[8]
	tXattrcreate = 32 // fid[4] name[s] size[8] flags[4]
	tReaddir     = 40 // fid[4] offset[8] count[4] → count[4] (qid offset[8] type[1] name[s])*
	tFsync       = 50 // fid[4] [datasync[4]]
	tLock        = 52 // refused: locks are the client's
	tGetlock     = 54 // refused
	tLink        = 70 // dfid[4] fid[4] name[s]
	tMkdir       = 72 // dfid[4] name[s] mode[4] gid[4] → qid
	tRenameat    = 74 // olddirfid[4] oldname[s] newdirfid[4] newname[s]
	tUnlinkat    = 76 // dirfid[4] name[s] flags[4]

	tVersion = 100 // msize[4] version[s] → msize[4] version[s]
	rVersion = 101
	tAuth    = 102 // refused
	tAttach  = 104 // fid[4] afid[4] uname[s] aname[s] n_uname[4] → qid
	tFlush   = 108 // oldtag[2]
	tWalk    = 110 // fid[4] newfid[4] n[2] name[s]*n → n[2] qid*n
	tRead    = 116 // fid[4] offset[8] count[4] → count[4] data
	rRead    = 117
	tWrite   = 118 // fid[4] offset[8] count[4] data → count[4]
	tClunk   = 120 // fid[4]
	tRemove  = 122 // refused as Trename is
)

// Message types of the extensions. "full" is valid[8] qid attr as in Rgetattr. newfid may be
// NoFID where nothing is to be bound.
const (
	// Twalkgetattr walks many components, binds a fid to each and returns the attributes of
	// each: fid[4] n[2] (newfid[4] name[s])*n → errno[4] n[2] full*n. It stops, without
	// error, behind the first component that is not a directory; when a component cannot be
	// walked, errno says why and n counts those before it. n = 0 clones the fid to the
	// newfid that follows: fid[4] 0[2] newfid[4] → 0[4] 1[2] full.
	tWalkgetattr = 128

	// Tuopen opens the file of fid as newfid, leaving fid as it is; with NoFID the reply
	// must carry a descriptor or fails. fid[4] newfid[4] flags[4] → qid iounit[4] [fd]
	tUopen = 130

	// Tucreate creates and opens a regular file, bound to newfid; with O_TMPFILE in flags
	// the name is ignored. If a descriptor comes, of the mode in flags, newfid is not open;
	// else it is.
	// dfid[4] newfid[4] name[s] flags[4] mode[4] uid[4] gid[4] → full [fd]
	tUcreate = 132

	// dfid[4] newfid[4] name[s] mode[4] uid[4] gid[4] → full
	tUmkdir = 134
	// dfid[4] newfid[4] name[s] mode[4] major[4] minor[4] uid[4] gid[4] → full
	tUmknod = 136
	// dfid[4] newfid[4] name[s] target[s] uid[4] gid[4] → full
	tUsymlink = 138

	tAllocate     = 140 // fid[4] mode[4] offset[8] length[8]
	tSetattrclunk = 142 // as Tsetattr; fid is clunked even if the change fails
	tFlushf       = 144 // fid[4]: what close(2) of the file would report
	tLconnect     = 146 // fid[4] socktype[4] → [fd]
	tGetxattr     = 148 // fid[4] name[s] size[4] → n[4] value (size 0: n only)
	tSetxattr     = 150 // fid[4] name[s] flags[4] n[4] value
	tListxattr    = 152 // fid[4] size[4] → n[4] names, each with a NUL behind
	tRemovexattr  = 154 // fid[4] name[s]
	tRenameat2    = 156 // as Trenameat, flags[4]

	// Tulink is Tlink that returns the new attributes of the file: dfid[4] fid[4] name[s] → full
	tUlink = 158
	// Tusetattr is Tsetattr that returns the new attributes: → full
	tUsetattr = 160

	// Treaddirplus is Treaddir with the attributes of each entry, all zero where it has
	// none to show; eof says that nothing follows.
	// fid[4] offset[8] count[4] → eof[1] count[4] (qid offset[8] type[1] name[s] full)*
	tReaddirplus = 162

	// Twalkopen is Twalkgetattr of one name and Tuopen with NoFID of what was found: newfid is
	// the inode's. dfid[4] newfid[4] name[s] flags[4] → full fd
	tWalkopen = 164

	// Tchannel makes another way for requests beside the connection, see channel: → fd, a
	// socket whose first byte comes with the memory. Tversion is refused while there is one.
	tChannel = 166
)

// NoFID and NoTag are the numbers that name no fid and no tag.
const (
	NoFID = ^uint32(0)
	NoTag = ^uint16(0)
)

// QID types.
const (
	QTDir     = 0x80
	QTSymlink = 0x02
	QTFile    = 0x00
)

// Attribute bits of Tgetattr and of Attr.Valid.
const (
	AttrMode        = 0x0001
	AttrNLink       = 0x0002
	AttrUID         = 0x0004
	AttrGID         = 0x0008
	AttrRDev        = 0x0010
	AttrATime       = 0x0020
	AttrMTime       = 0x0040
	AttrCTime       = 0x0080
	AttrIno         = 0x0100
	AttrSize        = 0x0200
	AttrBlocks      = 0x0400
	AttrBTime       = 0x0800
	AttrGen         = 0x1000
	AttrDataVersion = 0x2000

	AttrBasic = 0x07ff
	AttrAll   = 0x3fff
)

// Attribute bits of Tsetattr. A time is set to "now" unless its Set bit is there too.
const (
	SetMode     = 0x001
	SetUID      = 0x002
	SetGID      = 0x004
	SetSize     = 0x008
	SetATime    = 0x010
	SetMTime    = 0x020
	SetCTime    = 0x040 // the host does it by itself
	SetATimeSet = 0x080
	SetMTimeSet = 0x100

	setAll = 0x1ff
)

// Sizes.
const (
	headerSize = 7

	// MaxMessageSize is the largest message that either side agrees to.
	MaxMessageSize = 1 << 20
	// minMessageSize holds every reply that is not cut to measure, the longest symlink
	// target for one.
	minMessageSize = 8 << 10

	// ioHeaderSize is what Tread, Twrite and Rreaddir need around their data.
	ioHeaderSize = 32

	// MaxWalk is the most names in one walk (the 9P limit for Twalk).
	MaxWalk = 16

	maxName       = 255
	maxTarget     = 4095
	maxXattrName  = 255
	maxXattrValue = 64 << 10

	qidSize  = 13
	fullSize = 8 + qidSize + 132
)
