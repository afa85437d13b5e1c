// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peerArgument is how this program is one of the peers: see peer.go.
const peerArgument = "-peer="

func main() {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], peerArgument) {
		if err := bePeer(strings.TrimPrefix(os.Args[1], peerArgument)); err != nil {
			fmt.Fprintln(os.Stderr, "bench: peer:", err)
			os.Exit(1)
		}
		return
	}
	switch err := run(os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp), errors.Is(err, errUsage):
		os.Exit(2)
	case errors.Is(err, errRoot):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(3)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var (
	errUsage = errors.New("wrong usage")
	errRoot  = errors.New("run as root: it loads BPF programs and makes pid namespaces")
)

// bench is what the rows are measured with.
type bench struct {
	dir      string
	pidgraft string // as make build makes it
	image    string // where dumps go
	sizes    sizes
	rounds   int
	progress io.Writer
}

// sizes are how many tasks the rows have.
type sizes struct {
	tasks    []int // of dumps
	objects  int   // of the largest dump, and of images
	restores []int
	plans    []int
	rest     int // of rows of which there is one size
}

func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		format = fs.String("o", "text", "print `text`, json or svg")
		from   = fs.String("from", "", "measure nothing, but print what is in `FILE`, which -o json wrote")
		list   = fs.Bool("list", false, "list the rows and end")
		rounds = fs.Int("rounds", 7, "runs of each, after one to warm up")
		tasks  = fs.String("tasks", "1000,10000,20000,30000", "sizes of dumps")
		rest   = fs.String("restores", "1000,10000,30000", "sizes of restores")
		obj    = fs.Int("objects", 100_000, "size of the largest dump, and of images")
		plans  = fs.String("plans", "1000,10000,100000,1000000", "sizes of plans")
		n      = fs.Int("n", 10_000, "size of rows of which there is one size")
	)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "usage: bench [flags] [ROW...]    each ROW is a regular expression: see -list")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return errUsage
	}
	b := &bench{rounds: *rounds, progress: os.Stderr, sizes: sizes{objects: *obj, rest: *n}}
	var err error
	for list, to := range map[*string]*[]int{tasks: &b.sizes.tasks, rest: &b.sizes.restores, plans: &b.sizes.plans} {
		if *to, err = integers(*list); err != nil {
			break
		}
	}
	var chosen []row
	if err == nil {
		chosen, err = choose(b.rows(), fs.Args())
	}
	if err == nil && (*rounds < 1 || !isFormat(*format)) {
		err = errors.New("-rounds or -o is wrong")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return errUsage
	}
	switch {
	case *list:
		for _, r := range chosen {
			fmt.Fprintf(out, "%-24s %s\n", r.name, r.work)
		}
		return nil
	case *from != "":
		r, err := readReport(*from)
		if err != nil {
			return err
		}
		return r.print(out, *format)
	}
	r, err := b.measure(chosen)
	if err != nil {
		return err
	}
	if err := r.print(out, *format); err != nil {
		return err
	}
	return r.failed()
}

func integers(list string) ([]int, error) {
	var all []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no size", s)
		}
		all = append(all, n)
	}
	return all, nil
}

// choose is the rows that one of the expressions matches at its beginning; all
// if there is none.
func choose(all []row, expressions []string) ([]row, error) {
	if len(expressions) == 0 {
		return all, nil
	}
	var chosen []row
	used := make([]bool, len(expressions))
	var res []*regexp.Regexp
	for _, e := range expressions {
		re, err := regexp.Compile("^(?:" + e + ")")
		if err != nil {
			return nil, err
		}
		res = append(res, re)
	}
	for _, r := range all {
		take := false
		for i, re := range res {
			if re.MatchString(r.name) {
				take, used[i] = true, true
			}
		}
		if take {
			chosen = append(chosen, r)
		}
	}
	for i, e := range expressions {
		if !used[i] {
			return nil, fmt.Errorf("no row is called %q: see -list", e)
		}
	}
	return chosen, nil
}

// row is one piece of work. measure fills a result.
type row struct {
	name    string // a path: what is done, of what, how many
	work    string // in words
	size    int    // tasks
	measure func(*Row) error
}

func (b *bench) rows() []row {
	var all []row
	for _, part := range []func() []row{b.startRows, b.dumpRows, b.smallRows, b.shapeRows, b.restoreRows, b.planRows, b.imageRows, b.auditRows} {
		all = append(all, part()...)
	}
	return all
}

// measure measures rows. A row that fails is in the report, with why.
func (b *bench) measure(rows []row) (*Report, error) {
	if os.Geteuid() != 0 {
		return nil, errRoot
	}
	dir, err := os.MkdirTemp("", "pidgraft-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// A restored forest becomes a child of this process, which ends it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	back, err := b.raisePidMax(rows)
	if err != nil {
		return nil, err
	}
	defer back()
	b.dir = dir
	b.pidgraft, b.image = filepath.Join(dir, "pidgraft"), filepath.Join(dir, "out.img")
	build := exec.Command("go", "build", "-tags", "lean", "-o", b.pidgraft, "./cmd/pidgraft")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	report := newReport(b)
	for _, r := range rows {
		fmt.Fprintf(b.progress, "%s: %s\n", r.name, r.work)
		res := Row{Name: r.name, Work: r.work, Size: r.size}
		if err := r.measure(&res); err != nil {
			res.Error = err.Error()
			fmt.Fprintf(b.progress, "%s: %v\n", r.name, err)
		}
		report.Rows = append(report.Rows, res)
	}
	return report, nil
}

const pidMaxFile = "/proc/sys/kernel/pid_max"

// raisePidMax makes room for the largest rows, where there is none, and gives what
// sets it back: a signal that ends this program does so, too.
func (b *bench) raisePidMax(rows []row) (back func(), err error) {
	// Two forests of the largest size, and numbers that are not free again yet.
	want := max(slices.Max(b.sizes.tasks), b.sizes.rest)
	for _, r := range rows {
		if kind, _, _ := strings.Cut(r.name, "/"); slices.Contains([]string{"dump", "restore", "audit"}, kind) {
			want = max(want, r.size)
		}
	}
	want *= 4
	old, err := os.ReadFile(pidMaxFile)
	if err != nil {
		return nil, err
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(old)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pidMaxFile, err)
	}
	if most >= want {
		return func() {}, nil
	}
	set := func(text []byte) {
		if err := os.WriteFile(pidMaxFile, text, 0); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		if _, ok := <-signals; ok {
			set(old)
			os.Exit(1)
		}
	}()
	set([]byte(strconv.Itoa(want)))
	return func() {
		signal.Stop(signals)
		close(signals)
		set(old)
	}, nil
}

// compile builds a program of C.
func (b *bench) compile(source string) (string, error) {
	program := filepath.Join(b.dir, strings.TrimSuffix(filepath.Base(source), ".c"))
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if out, err := exec.Command("gcc", "-O2", "-Wall", "-o", program, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc %s: %w\n%s", source, err, out)
	}
	return program, nil
}
