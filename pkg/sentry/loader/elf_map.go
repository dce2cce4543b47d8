package loader

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
)

// loading is one Load under way.
type loading struct {
	ctx  context.Context
	m    space
	args *LoadArgs
	argv []string
	info ImageInfo
}

// build fills the address space.
func (l *loading) build(img, interp *elfImage, creds *auth.Credentials, secure bool) error {
	bias, err := l.mapProgram(img, interp != nil)
	if err != nil {
		return err
	}
	l.info.Entry = img.entry + bias
	var base uint64 // of the interpreter
	if interp != nil {
		if base, err = l.mapImage(interp, 0, false); err != nil {
			return err
		}
		l.info.Entry = interp.entry + base
	}
	if l.info.Entry >= maxTop {
		return unix.ENOEXEC
	}
	l.setLayout(img, bias, interp != nil)
	l.m.setBrk(l.info.Layout.Brk)

	if l.args.VDSO != nil {
		if l.info.Layout.VDSO, err = l.m.mapVDSO(l.args.VDSO); err != nil {
			return err
		}
	}
	return l.makeStack(img, bias, base, creds, secure)
}

// mapProgram maps the program itself and returns its distance from the addresses in the file.
func (l *loading) mapProgram(img *elfImage, dynamic bool) (uint64, error) {
	switch {
	case !img.position:
		return l.mapImage(img, 0, true)
	case dynamic:
		return l.mapImage(img, l.m.pieBase()&^(img.align-1), true)
	}
	// A dynamic linker called by name, or a static-PIE program: among the mappings.
	return l.mapImage(img, 0, false)
}

// mapImage maps all segments, the first at the page address at (fixed), or anywhere. For
// ET_EXEC files the address is the file's own. It returns the distance from the file's
// addresses.
func (l *loading) mapImage(e *elfImage, at uint64, fixed bool) (bias uint64, err error) {
	start, end := e.span()
	size := end - start
	switch {
	case !e.position:
		bias = 0
	case fixed:
		bias = at - start
	default:
		if at, err = l.m.findRoom(size, e.align); err != nil {
			return 0, err
		}
		bias = at - start
	}
	var mapped uint64 // end of what is mapped
	for _, s := range e.segments {
		if mapped, err = l.mapSegment(e, s, bias, mapped); err != nil {
			return 0, err
		}
	}
	return bias, nil
}

// mapSegment maps one segment and returns the end of what is mapped now. Pages below mapped
// belong to the segment before.
func (l *loading) mapSegment(e *elfImage, s segment, bias, mapped uint64) (uint64, error) {
	start, end := s.vaddr+bias, s.end()+bias
	page := memmap.PageDown(start)
	if page < mapped {
		// The segment begins in the last page of the one before: Linux maps its page
		// over it.
		if err := l.m.unmap(page, memmap.PageSize); err != nil {
			return 0, err
		}
	}
	zero := page // from here on there is no file
	if s.filesz > 0 {
		fileEnd := start + s.filesz
		zero = memmap.PageUp(fileEnd)
		if err := l.m.mapFile(l.ctx, e.file, page, zero-page, s.offset-(start-page), s.at); err != nil {
			if err == unix.ENODEV {
				err = unix.ENOEXEC
			}
			return 0, err
		}
		if s.memsz > s.filesz && s.at.Write && fileEnd < zero {
			// The rest of the last page is bss. A file that ends before it is
			// mapped nevertheless; touching it would be SIGBUS.
			n := min(zero, memmap.PageUp(end)) - fileEnd
			if _, err := l.m.ZeroOut(uintptr(fileEnd), int(n)); err != nil {
				return 0, err
			}
		}
	}
	if last := memmap.PageUp(end); zero < last {
		if err := l.m.mapAnonymous(zero, last-zero, s.at); err != nil {
			return 0, err
		}
		zero = last
	}
	return zero, nil
}

// setLayout notes where code, data and heap are.
func (l *loading) setLayout(img *elfImage, bias uint64, dynamic bool) {
	lay := &l.info.Layout
	for _, s := range img.segments {
		start, fileEnd := s.vaddr+bias, s.vaddr+s.filesz+bias
		if s.at.Execute {
			if lay.CodeStart == 0 {
				lay.CodeStart = start
			}
			lay.CodeEnd = fileEnd
		} else if s.at.Write {
			lay.DataStart = start
		}
		lay.DataEnd = max(lay.DataEnd, fileEnd)
	}
	if lay.DataStart == 0 {
		lay.DataStart = lay.CodeStart
	}
	_, end := img.span()
	brk := end + bias
	if img.position && !dynamic {
		// Not below the mappings, where a heap has no room to grow.
		brk = l.m.pieBase()
	}
	lay.Brk = brk
}
