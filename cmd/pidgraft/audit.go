// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/entry"
	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/audit/hidden"
	"github.com/pidgraft/pidgraft/audit/history"
	"github.com/pidgraft/pidgraft/audit/record"
	events "github.com/pidgraft/pidgraft/audit/source"
	"github.com/pidgraft/pidgraft/loader"
)

// auditing is what audit and check have in common.
type auditing struct {
	namespace namespaceFlags
	format    *choice
	allow     string
	proc      string
	dropOneIn uint32
	source    *choice
	listen    string
	otlp      string
	noEvents  bool
	finding   finding.Options
	state     *stateFile // nil: no --state
	types     types

	chosen *chosen
	first  *step // the first snapshot
	live   *events.Live
	views  *events.Proc
	out    *auditOutput
}

// exitInterrupted is for a second SIGINT, as shells have it.
const exitInterrupted = 128 + int(syscall.SIGINT)

// sources are what --source can be.
var sources = map[string]loader.Source{"auto": loader.AutoSource, "tracepoints": loader.Tracepoints, "fentry": loader.Fentry}

// errLoss ends an audit with --on-loss=exit.
var errLoss = errors.New("events were lost")

func auditCommand() *cobra.Command {
	a := &auditing{format: &choice{"jsonl", []string{"jsonl", "table"}}}
	onLoss := &choice{"resync", []string{"resync", "log", "exit"}}
	var reconcile, hiddenEvery, refusedEvery time.Duration
	var state stateFile
	cmd := &cobra.Command{
		Use:   "audit [flags]",
		Short: "Watch every pid object of a namespace",
		Long: `Watch pid namespaces and all below them, by default this process's own: every
task with its process, group and session, and every number that only those
still hold. What happens is printed as it happens, one JSON record a line;
docs/schema/audit.v1.json describes them.

If events are lost, a record says how many. The state is then made anew, and
what had been missed is printed as recovered. Each record says whether the
state was complete or degraded when it was made.

Findings are what is wrong: zombies with the parent that does not reap them,
namespaces whose init cannot end, namespaces short of numbers, tasks born from
outside, processes that hide, and what no kernel should show.

INT and TERM end it after what has happened by then, a second INT at once (exit
code 130). HUP reads the allow-list again, USR1 takes a snapshot.

With --state it remembers where processes were born, also those whose parents
are gone, across its own restarts: see dump --history.`,
		Example: `  pidgraft audit                             # this pid namespace
  pidgraft audit --pid 4711 -o table         # that of process 4711
  pidgraft audit --listen 9464 >audit.jsonl  # and http://127.0.0.1:9464/
  pidgraft audit --container 3f2a --container 90bc   # those of two containers
  pidgraft audit | jq -c 'select(.type == "finding") | .finding'`,
		Annotations: overhead("While it runs every system call of the machine takes some 0.1 µs longer, and each birth and end of a " +
			"task about 5 µs of this command's own time and about as much of the task's. The state takes about " +
			"500 bytes for each pid object, the ring 8 MiB; nothing grows with time. docs/design/audit.md has the " +
			"measurements."),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if state.path != "" {
				a.state = &state
			}
			for name, d := range map[string]time.Duration{
				"reconcile": reconcile, "hidden-every": hiddenEvery, "refused-every": refusedEvery, "state-every": state.every,
				"zombie-after": a.finding.ZombieAfter, "exit-after": a.finding.ExitAfter,
			} {
				if d < 0 {
					return usageError{fmt.Errorf("--%s %v: a time before now", name, d)}
				}
			}
			return a.follow(onLoss.value, reconcile, hiddenEvery, refusedEvery)
		},
	}
	fs := cmd.Flags()
	a.add(cmd)
	fs.Var(onLoss, "on-loss", "`resync`: make the state anew; log: go on without; exit: end with code 4")
	fs.DurationVar(&reconcile, "reconcile", time.Minute, "hold the state against a snapshot this often; 0: never")
	fs.DurationVar(&hiddenEvery, "hidden-every", time.Minute, "look for hidden processes this often; 0: never")
	fs.DurationVar(&refusedEvery, "refused-every", time.Minute, "look for what stands against a checkpoint this often; 0: never")
	fs.DurationVar(&a.finding.ZombieAfter, "zombie-after", 10*time.Second, "how long a parent may take to reap")
	fs.DurationVar(&a.finding.ExitAfter, "exit-after", 10*time.Second, "how long the init of a namespace may take to end")
	fs.StringVar(&a.listen, "listen", "", "serve metrics, health and a page at `ADDR`: HOST:PORT or, for this machine only, PORT")
	fs.StringVar(&state.path, "state", "", "keep in `FILE` where processes were born, for dump --history")
	fs.DurationVar(&state.every, "state-every", 10*time.Second, "write it this often")
	fs.StringVar(&a.otlp, "otlp", "", "send records and metrics to a collector at `URL` by OTLP over HTTP; env: to where the OTEL_ variables say")
	fs.BoolVar(&a.noEvents, "no-events", false, "leave out events: tell of what is wrong, lost and counted only")
	a.finding.Hold = 3 * time.Second
	return cmd
}

func (a *auditing) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	a.namespace.add(fs)
	fs.VarP(a.format, "output", "o", "`jsonl` or table")
	fs.StringVar(&a.allow, "allow", "", "who may enter from outside: `FILE` with a rule a line, as comm=runc* uid=0")
	fs.StringVar(&a.proc, "proc", "/proc", "the proc file system to look for processes in")
	a.types.flag(cmd)
	a.source = &choice{"auto", []string{"auto", "tracepoints", "fentry"}}
	fs.Var(a.source, "source", "where events come from: tracepoints, or fentry, which costs system calls nothing and is not allowed everywhere; `auto`: the best that works")
	fs.Uint32Var(&a.dropOneIn, "simulate-loss", 0, "lose one event in `N`, at random")
}

// open begins to follow the namespace.
func (a *auditing) open() (record.Header, error) {
	var h record.Header
	types, err := a.types.read()
	if err != nil {
		return h, err
	}
	if a.chosen, err = a.namespace.choose(); err != nil {
		return h, err
	}
	a.chosen.target.Types = types
	own, err := inodeOf("/proc/self/ns/pid")
	if err != nil {
		return h, err
	}
	if a.views, err = events.OpenProc(a.proc); err != nil {
		return h, usageError{err}
	}
	if a.live, err = events.Open(a.chosen.target, loader.StreamOptions{DropOneIn: a.dropOneIn, Source: sources[a.source.value]}); err != nil {
		return h, err
	}
	source, whyNot := a.live.Source()
	caller, audited := a.live.Levels()
	h = record.Header{
		Tool: version(), Release: producer().Release, Source: source.String(),
		Namespace: record.Namespace{Inode: uint32(a.chosen.inode), Level: audited},
		Own:       record.Namespace{Inode: uint32(own), Level: caller},
		Root:      caller == 0,
		Walked:    a.live.WalkError() == nil,
	}
	if whyNot != nil {
		h.NotFentry = whyNot.Error()
	}
	if !h.Walked {
		h.WhyNot = a.live.WalkError().Error()
	}
	for _, l := range a.chosen.among {
		h.Chosen = append(h.Chosen, record.Namespace{Inode: uint32(l.inode()), Level: caller + len(l.inodes) - 1})
	}
	a.out = newAuditOutput(a.format.value)
	// One who stays does not put off the first collection (deferGC).
	runtime.GC()
	return h, nil
}

func (a *auditing) close() error {
	var errs []error
	if a.live != nil {
		errs = append(errs, a.live.Close())
	}
	if a.chosen != nil {
		errs = append(errs, a.chosen.close())
	}
	if a.views != nil {
		errs = append(errs, a.views.Close())
	}
	return errors.Join(errs...)
}

// readAllow reads the allow-list; without a file nobody is expected.
func (a *auditing) readAllow() (*entry.List, error) {
	if a.allow == "" {
		return nil, nil
	}
	f, err := os.Open(a.allow)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := entry.ParseList(f)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", a.allow, err)}
	}
	return list, nil
}

// checker looks for hidden processes.
func (a *auditing) checker() *hidden.Checker {
	caller, audited := a.live.Levels()
	return &hidden.Checker{Snapshot: a.live.Snapshot, Views: a.views, Level: caller, Whole: caller == audited}
}

// beginFirst says that the first snapshot is being taken.
func (a *auditing) beginFirst() *step {
	return beginStep("first snapshot", func() standing {
		return standing{done: int64(a.live.Seen()), unit: "tasks"}
	})
}

// tookSnapshot says that one was, if s is not nil.
func (a *auditing) tookSnapshot(s *record.Snapshot) {
	if s == nil {
		return
	}
	a.first.stop()
	logStep("snapshot", time.Duration(s.End-s.Begin), "cause", s.Cause, "tasks", s.Tasks)
}

// refuser looks for what stands against checkpoints.
func (a *auditing) refuser() *audit.Refuser {
	return &audit.Refuser{Snapshot: a.live.Snapshot, Reasons: reasonsAgainst, Chosen: a.chosen.set()}
}

// naming names containers.
func (a *auditing) naming(ctx context.Context) *naming {
	caller, _ := a.live.Levels()
	return beginNaming(ctx, a.views, caller)
}

// machinePidMax is for kernels where namespaces have none of their own.
func machinePidMax() int {
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// follow is audit.
func (a *auditing) follow(onLoss string, reconcile, hiddenEvery, refusedEvery time.Duration) (err error) {
	allow, err := a.readAllow()
	if err != nil {
		return err
	}
	out, err := a.beginExport()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	// Before anything can be lost for want of somebody who takes the signal.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	defer close(signals)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	others := stopOn(signals, cancel)
	header, err := a.open()
	defer func() { err = errors.Join(err, a.close()) }()
	if err != nil {
		return err
	}
	header.OnLoss, header.Allowed = onLoss, allow.Len()
	var births *history.Tracker
	if a.state != nil {
		if err := a.state.open(header.Namespace.Inode, header.Namespace.Level); err != nil {
			return err
		}
		births = a.state.tracker
	}

	lost := false
	hiding := beginLooking(ctx, hiddenEvery, a.checker().Check, (*audit.Auditor).Hiding)
	refused := beginLooking(ctx, refusedEvery, a.refuser().Check, (*audit.Auditor).Refused)
	naming := a.naming(ctx)
	var auditor *audit.Auditor
	auditor = audit.New(a.live, audit.Options{
		Follow:    follow.Options{Heal: onLoss != "log", Reconcile: reconcile, Pause: 200 * time.Millisecond},
		Finding:   a.finding,
		Chosen:    a.chosen.set(),
		History:   births,
		NoEvents:  a.noEvents,
		FindEvery: time.Second,
		PidMax:    machinePidMax(),
		Emit: func(r *record.Record) error {
			lost = lost || r.Type == record.TypeLoss
			a.tookSnapshot(r.Snapshot)
			naming.name(auditor, r)
			out.record(r)
			return a.out.write(r)
		},
		Tick: func(auditor *audit.Auditor) error {
			if err := a.out.flush(); err != nil {
				return err
			}
			if lost && onLoss == "exit" {
				return errLoss
			}
			if a.live.Ended() || len(a.chosen.among) > 0 && auditor.State() != nil && auditor.Left() == 0 {
				cancel()
			}
			if err := errors.Join(hiding.collect(auditor), refused.collect(auditor)); err != nil {
				return err
			}
			naming.turn(auditor, a.live.Now())
			out.turn(auditor, naming)
			a.obey(others, auditor)
			a.state.keep(auditor, false)
			return nil
		},
	})
	auditor.Allow(allow)
	if err := auditor.Header(header); err != nil {
		return err
	}
	a.first = a.beginFirst()
	defer a.first.stop()
	err = auditor.Run(ctx)
	if errors.Is(err, loader.ErrNoProcess) || errors.Is(err, context.Canceled) {
		err = auditor.Drain()
	}
	return errors.Join(err, auditor.Summary(), a.out.flush(), a.state.close(auditor))
}

// sameSignal is how soon after another an INT is the same one told twice, as
// timeout(1) does: to the process, and to its group.
const sameSignal = 200 * time.Millisecond

// stopOn ends a context with the first INT or TERM, and the process with an INT
// after that, whatever it is waiting for. Other signals are passed on.
func stopOn(signals <-chan os.Signal, cancel func()) <-chan os.Signal {
	others := make(chan os.Signal, cap(signals))
	go func() {
		var stopping time.Time
		for s := range signals {
			switch {
			case s != syscall.SIGINT && s != syscall.SIGTERM:
				select {
				case others <- s:
				default: // one of its kind is waiting
				}
			case stopping.IsZero():
				stopping = time.Now()
				cancel()
			case s == syscall.SIGINT && time.Since(stopping) > sameSignal:
				os.Exit(exitInterrupted)
			}
		}
	}()
	return others
}

// obey does what the signals that came ask for.
func (a *auditing) obey(signals <-chan os.Signal, auditor *audit.Auditor) {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGUSR1 {
				auditor.Want("signal")
				a.state.keep(auditor, true)
				continue
			}
			allow, err := a.readAllow()
			if err != nil {
				// The old one stays in force.
				slog.Error(err.Error())
				continue
			}
			auditor.Allow(allow)
		default:
			return
		}
	}
}

// looking looks for something beside the rest, every now and then.
type looking[T any] struct {
	results chan lookResult[T]
	take    func(*audit.Auditor, []T)
}

type lookResult[T any] struct {
	found []T
	err   error
}

func beginLooking[T any](ctx context.Context, every time.Duration, check func(context.Context) ([]T, error), take func(*audit.Auditor, []T)) *looking[T] {
	l := &looking[T]{results: make(chan lookResult[T], 1), take: take}
	if every <= 0 {
		return l
	}
	go func() {
		for ctx.Err() == nil {
			found, err := check(ctx)
			select {
			case l.results <- lookResult[T]{found, err}:
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(every):
			case <-ctx.Done():
				return
			}
		}
	}()
	return l
}

// collect takes what has been found since, once there is a state to hold it
// against.
func (l *looking[T]) collect(a *audit.Auditor) error {
	if a.State() == nil {
		return nil
	}
	select {
	case r := <-l.results:
		if r.err != nil {
			return r.err
		}
		l.take(a, r.found)
	default:
	}
	return nil
}

// auditOutput writes records to standard output.
type auditOutput struct {
	w     *bufio.Writer
	table bool
}

func newAuditOutput(format string) *auditOutput {
	return &auditOutput{w: bufio.NewWriterSize(os.Stdout, 1<<16), table: format == "table"}
}

func (o *auditOutput) write(r *record.Record) error {
	if o.table {
		return record.Table(o.w, r)
	}
	return record.JSON(o.w, r)
}

func (o *auditOutput) flush() error { return says.foot.aside(o.w.Flush) }
