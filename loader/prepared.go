// SPDX-License-Identifier: Apache-2.0

package loader

// Prepared is all of a Loader that does not depend on which process the target
// is: programs take longer to load than a small target takes to be looked at, and
// can be loaded before there is one.
type Prepared struct {
	l      *Loader
	target Target
}

// Prepare loads the programs for a target like this, whose PID does not matter
// yet. Its errors are those of Open that are not about the process.
func Prepare(target Target) (*Prepared, error) {
	p := &Prepared{l: &Loader{pidfd: -1, scope: target.Scope}, target: target}
	if err := p.l.prepare(target, 0, false); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Open finds process pid and begins to watch it, as the function Open does. It
// uses up what was prepared: it may be called once.
func (p *Prepared) Open(pid int) (*Loader, error) {
	if p.l == nil {
		return nil, errClosed
	}
	l := p.l
	p.l, p.target.PID = nil, pid
	err := l.pin(p.target)
	if err == nil {
		err = l.begin(p.target)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close frees what was prepared and not used.
func (p *Prepared) Close() error {
	if p.l == nil {
		return nil
	}
	l := p.l
	p.l = nil
	return l.Close()
}
