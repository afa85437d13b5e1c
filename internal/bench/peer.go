// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Peers that are part of this program. They are processes of their own, as what
// they allocated must not be ours to collect, and say how long they took.
const (
	nsLines    = "ns-lines"
	prometheus = "procfs"
)

func bePeer(name string) error {
	peers := map[string]func() (int, error){nsLines: readNSLines, prometheus: readProcfs}
	start := time.Now()
	n, err := peers[name]()
	took := time.Since(start)
	if err == nil && n == 0 {
		err = errors.New("it saw no task")
	}
	if err != nil {
		return err
	}
	fmt.Println(took.Nanoseconds())
	return nil
}

// own times a peer that is part of this program.
func own(name string) (sample, error) {
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	return told(self, peerArgument+name)
}

// nsIDs are the numbers of a task at every level that is seen.
type nsIDs struct{ tgid, pid, pgid, sid []int32 }

// readNSLines is what a program in Go reads that wants the numbers of all tasks
// at all levels and has only /proc: four lines of each task's status.
func readNSLines() (int, error) {
	all := make(map[int]nsIDs)
	buf := make([]byte, 8192)
	err := numbersIn("/proc", func(pid int) error {
		return numbersIn(fmt.Sprintf("/proc/%d/task", pid), func(tid int) error {
			text, err := readInto(buf, fmt.Sprintf("/proc/%d/task/%d/status", pid, tid))
			if err != nil {
				return err
			}
			var t nsIDs
			for line := range bytes.Lines(text) {
				rest, ok := bytes.CutPrefix(line, []byte("NS"))
				if !ok {
					continue
				}
				what, list, _ := bytes.Cut(rest, []byte(":"))
				var ids []int32
				for f := range bytes.FieldsSeq(list) {
					n, err := strconv.ParseInt(string(f), 10, 32)
					if err != nil {
						return err
					}
					ids = append(ids, int32(n))
				}
				switch string(what) {
				case "tgid":
					t.tgid = ids
				case "pid":
					t.pid = ids
				case "pgid":
					t.pgid = ids
				case "sid":
					t.sid = ids
				}
			}
			all[tid] = t
			return nil
		})
	})
	return len(all), err
}

// numbersIn calls do for the entries of a directory of /proc that are numbers;
// what is gone meanwhile is left out.
func numbersIn(dir string, do func(int) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return gone(err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if n, err := strconv.Atoi(name); err == nil {
				if err := gone(do(n)); err != nil {
					return err
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return gone(err)
		}
	}
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// readInto reads a small file in one piece, without a File.
func readInto(buf []byte, path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	return buf[:max(n, 0)], err
}

// readProcfs is the same by the library that exporters of metrics use: the
// numbers at every level, group and session, of every thread.
func readProcfs() (int, error) {
	procs, err := procfs.AllProcs()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, p := range procs {
		threads, err := procfs.AllThreads(p.PID)
		if err != nil {
			if gone(err) != nil {
				return 0, err
			}
			continue
		}
		for _, t := range threads {
			status, err := t.NewStatus()
			if err == nil {
				_, err = t.Stat()
			}
			if gone(err) != nil {
				return 0, err
			}
			if err == nil && len(status.NSpids) > 0 {
				n++
			}
		}
	}
	return n, nil
}
