// SPDX-License-Identifier: Apache-2.0

package source

import (
	"compress/gzip"
	"context"
	"encoding/gob"
	"errors"
	"io"
	"time"

	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/collector"
)

// Log is what a source has answered to each kind of question, in order. Who asks
// must take snapshots Inline (follow.Options), or the answers are to other
// questions.
type Log struct {
	Rounds    int // of who asked, before the stream was drained
	Nows      []uint64
	Totals    []event.Totals
	Reads     [][]event.Event
	Snapshots []*collector.Snapshot
	Refreshed map[int32][]bool // by number, as the order of these is none
}

// Write writes a log, compressed.
func (l *Log) Write(w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(z).Encode(l), z.Close())
}

// ReadLog reads what Write wrote.
func ReadLog(r io.Reader) (*Log, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	l := new(Log)
	return l, gob.NewDecoder(z).Decode(l)
}

// Recorder is a source that notes what another one says.
type Recorder struct {
	follow.Source
	Log Log
}

func (r *Recorder) Read(events []event.Event, deadline time.Time, max int) ([]event.Event, error) {
	before := len(events)
	events, err := r.Source.Read(events, deadline, max)
	r.Log.Reads = append(r.Log.Reads, append([]event.Event(nil), events[before:]...))
	return events, err
}

func (r *Recorder) Totals() (event.Totals, error) {
	t, err := r.Source.Totals()
	r.Log.Totals = append(r.Log.Totals, t)
	return t, err
}

func (r *Recorder) Refresh(number int32) (bool, error) {
	found, err := r.Source.Refresh(number)
	if r.Log.Refreshed == nil {
		r.Log.Refreshed = make(map[int32][]bool)
	}
	r.Log.Refreshed[number] = append(r.Log.Refreshed[number], found)
	return found, err
}

func (r *Recorder) Snapshot(ctx context.Context) (*collector.Snapshot, error) {
	s, err := r.Source.Snapshot(ctx)
	if err == nil {
		r.Log.Snapshots = append(r.Log.Snapshots, s)
	}
	return s, err
}

func (r *Recorder) Now() uint64 {
	now := r.Source.Now()
	r.Log.Nows = append(r.Log.Nows, now)
	return now
}

// Replay is a source that answers as a log does. It uses the log up.
type Replay struct{ Log *Log }

var _ follow.Source = (*Replay)(nil)

// ErrLogEnded: more is asked than the log answers, so who asks does not do what was
// done when it was recorded.
var ErrLogEnded = errors.New("the log has no such answer any more")

// Left is how many answers there are that nobody has asked for.
func (r *Replay) Left() int {
	n := len(r.Log.Nows) + len(r.Log.Totals) + len(r.Log.Reads) + len(r.Log.Snapshots)
	for _, answers := range r.Log.Refreshed {
		n += len(answers)
	}
	return n
}

func next[T any](answers *[]T) (answer T, err error) {
	if len(*answers) == 0 {
		return answer, ErrLogEnded
	}
	answer, *answers = (*answers)[0], (*answers)[1:]
	return answer, nil
}

func (r *Replay) Read(events []event.Event, _ time.Time, _ int) ([]event.Event, error) {
	batch, err := next(&r.Log.Reads)
	return append(events, batch...), err
}

func (r *Replay) Totals() (event.Totals, error) { return next(&r.Log.Totals) }

func (r *Replay) Refresh(number int32) (bool, error) {
	answers := r.Log.Refreshed[number]
	found, err := next(&answers)
	r.Log.Refreshed[number] = answers
	return found, err
}

func (r *Replay) Snapshot(context.Context) (*collector.Snapshot, error) {
	return next(&r.Log.Snapshots)
}

// Now cannot say that the log has ended; the others do.
func (r *Replay) Now() uint64 {
	now, _ := next(&r.Log.Nows)
	return now
}

func (r *Replay) Stop() error { return nil }
