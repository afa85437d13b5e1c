// SPDX-License-Identifier: Apache-2.0

package forest_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// TestLegalHistoriesAreValid: what a legal history leaves behind is accepted.
func TestLegalHistoriesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		if err := forest.Validate(f); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLegalOddities are states that look wrong and are not.
func TestLegalOddities(t *testing.T) {
	for name, change := range map[string]func(*forest.Forest){
		"an object that nobody in the forest uses": func(f *forest.Forest) {
			f.Pids = append(f.Pids, forest.Pid{Namespace: 0, Numbers: []int32{4000}})
		},
		"a number above pid_max":          func(f *forest.Forest) { f.Namespaces[0].PidMax = 301; f.Pids[1].Numbers[0] = 400 },
		"a null group and session":        func(f *forest.Forest) { f.Tasks[9].PGID, f.Tasks[9].SID = forest.Null, forest.Null },
		"an init that exits as reboot(2)": func(f *forest.Forest) { f.Tasks[12].GroupExitCode = 2 },
		"an init in a group from below": func(f *forest.Forest) {
			// kernel-rules 23: it can never end, and it can be.
			f.Tasks[4].PGID = 9
			f.Tasks[6].PGID = 9
		},
		"a raw code left over in a live task":     func(f *forest.Forest) { f.Tasks[1].ExitCode = 0x8005 },
		"a process killed, its threads still run": func(f *forest.Forest) { f.Tasks[1].GroupExit, f.Tasks[7].GroupExit = true, true },
		"an id without a mapping":                 func(f *forest.Forest) { f.Tasks[5].UID = 5 },
		"the highest cursor":                      func(f *forest.Forest) { f.Namespaces[0].Cursor = 4194305 },
		"children born in a dead namespace":       func(f *forest.Forest) { f.Tasks[9].ChildNamespace = 4 },
		"children of a parent far above":          func(f *forest.Forest) { f.Tasks[9].ChildNamespace = 2 },
		"a traced thread":                         func(f *forest.Forest) { f.Tasks[7].State = forest.Traced },
		"a stopped init":                          func(f *forest.Forest) { f.Tasks[4].State, f.Tasks[4].StopSignal = forest.Stopped, 19 },
		"an ended session's group of another":     func(f *forest.Forest) { f.Tasks[9].PGID = f.Tasks[9].Pid },
	} {
		f := foresttest.Sample()
		change(f)
		if err := forest.Validate(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRules breaks the sample in one place and expects the rule, and the place,
// to be named.
func TestRules(t *testing.T) {
	type F = *forest.Forest
	const none = forest.None
	referenced := func(change func(F)) func(F) {
		return func(f F) {
			f.References = foresttest.Referenced().References
			change(f)
		}
	}
	saved := func(change func(F)) func(F) {
		return func(f F) {
			f.ExitIDs = foresttest.Saved().ExitIDs
			change(f)
		}
	}
	told := func(change func(F)) func(F) {
		return func(f F) {
			f.Origins, f.Departed = foresttest.Told().Origins, foresttest.Told().Departed
			change(f)
		}
	}
	for name, c := range map[string]struct {
		rule   forest.Rule
		task   int    // none: it is not about a task
		reason string // a part of it
		change func(F)
	}{
		"no tasks":                {forest.RuleShape, none, "no task", func(f F) { f.Tasks = nil }},
		"no pids":                 {forest.RuleShape, none, "no pid object", func(f F) { f.Pids = nil }},
		"no namespaces":           {forest.RuleShape, none, "no pid namespace", func(f F) { f.Namespaces = nil }},
		"no user namespaces":      {forest.RuleShape, none, "no user namespace", func(f F) { f.UserNamespaces = nil }},
		"mode":                    {forest.RuleShape, none, "mode 2", func(f F) { f.Mode = 2 }},
		"cut":                     {forest.RuleShape, none, "cut method 2", func(f F) { f.Cut.Method = 2 }},
		"initial has a map":       {forest.RuleUserTree, none, "has a parent or a map", func(f F) { f.UserNamespaces[0].UIDMap = []forest.Extent{{Count: 1}} }},
		"user parent later":       {forest.RuleUserTree, none, "index 2, does not come before", func(f F) { f.UserNamespaces[1].Parent = 2 }},
		"user parent itself":      {forest.RuleUserTree, none, "index 1, does not come before", func(f F) { f.UserNamespaces[1].Parent = 1 }},
		"user level":              {forest.RuleUserTree, none, "level 34", deepUsers},
		"user owner":              {forest.RuleIDs, none, "uid 4294967295", func(f F) { f.UserNamespaces[1].OwnerUID = forest.InvalidID }},
		"map count":               {forest.RuleIDMap, none, "line 2 is for no ids", func(f F) { f.UserNamespaces[1].UIDMap[1].Count = 0 }},
		"map overflow":            {forest.RuleIDMap, none, "beyond the highest id", func(f F) { f.UserNamespaces[1].UIDMap[1].Parent = 1<<32 - 65536 }},
		"map overlap":             {forest.RuleIDMap, none, "for the same id", func(f F) { f.UserNamespaces[1].UIDMap[1].First = 0 }},
		"map overlap above":       {forest.RuleIDMap, none, "the same id of the parent", func(f F) { f.UserNamespaces[1].UIDMap[1].Parent = 1000 }},
		"map of unmapped ids":     {forest.RuleIDMap, none, "no line of the parent's map", func(f F) { f.UserNamespaces[2].GIDMap = []forest.Extent{{Parent: 1, Count: 1}} }},
		"map lines":               {forest.RuleIDMap, none, "341 lines", func(f F) { f.UserNamespaces[1].GIDMap = make([]forest.Extent, 341) }},
		"root's parent":           {forest.RuleTree, none, "the root namespace has parent", func(f F) { f.Namespaces[0].Parent = 0 }},
		"parent later":            {forest.RuleTree, none, "index 3, does not come before", func(f F) { f.Namespaces[1].Parent = 3 }},
		"level":                   {forest.RuleTree, none, "level 2 below a parent at level 0", func(f F) { f.Namespaces[3].Level = 2 }},
		"level 33":                {forest.RuleTree, none, "at level 33", deepNamespaces},
		"namespace state":         {forest.RuleShape, none, "state 5", func(f F) { f.Namespaces[3].State = 5 }},
		"owner missing":           {forest.RuleOwner, none, "user namespace 3, is not", func(f F) { f.Namespaces[1].Owner = 3 }},
		"owner above":             {forest.RuleOwner, none, "not below its parent's owner 1", func(f F) { f.Namespaces[2].Owner = 0 }},
		"cursor":                  {forest.RuleCursor, none, "cursor is 4194306", func(f F) { f.Namespaces[0].Cursor = 4194306 }},
		"pid_max low":             {forest.RuleCursor, none, "pid_max is 300", func(f F) { f.Namespaces[0].PidMax = 300 }},
		"pid_max high":            {forest.RuleCursor, none, "pid_max is 4194305", func(f F) { f.Namespaces[0].PidMax = 4194305 }},
		"pid's namespace":         {forest.RuleNumbers, none, "index 7, is not", func(f F) { f.Pids[3].Namespace = 7 }},
		"too few numbers":         {forest.RuleNumbers, none, "1 numbers and lives at level 1", func(f F) { f.Pids[6].Numbers = []int32{11} }},
		"no numbers":              {forest.RuleNumbers, none, "0 numbers", func(f F) { f.Pids[3].Numbers = nil }},
		"number 0":                {forest.RuleNumbers, none, "level 0 is 0", func(f F) { f.Pids[3].Numbers[0] = 0 }},
		"number too high":         {forest.RuleNumbers, none, "is 4194304", func(f F) { f.Pids[3].Numbers[0] = 4194304 }},
		"twice at level 0":        {forest.RuleTwice, none, "number 9 at level 0", func(f F) { f.Pids[7].Numbers[0] = 9 }},
		"twice at level 1":        {forest.RuleTwice, none, "number 2 at level 1", func(f F) { f.Pids[8].Numbers[1] = 2 }},
		"two inits":               {forest.RuleTwice, none, "number 1 at level 1", func(f F) { f.Pids[8].Numbers[1] = 1 }},
		"number 1 from below":     {forest.RuleInit, none, "number 1 at level 1 and lives at level 2", func(f F) { f.Pids[7].Numbers[1] = 1 }},
		"pid out of range":        {forest.RuleTags, 2, "pid is #18", func(f F) { f.Tasks[2].Pid = 18 }},
		"pid special":             {forest.RuleTags, 2, "pid is null", func(f F) { f.Tasks[2].Pid = forest.Null }},
		"pid negative":            {forest.RuleTags, 2, "pid is #-5", func(f F) { f.Tasks[2].Pid = -5 }},
		"two with one pid":        {forest.RuleOnePid, 3, "task with index 2", func(f F) { f.Tasks[3].Pid, f.Tasks[3].TGID = 3, 3 }},
		"tgid out of range":       {forest.RuleTags, 7, "tgid is #18", func(f F) { f.Tasks[7].TGID = 18 }},
		"tgid special":            {forest.RuleTags, 7, "tgid is outside", func(f F) { f.Tasks[7].TGID = 0 }},
		"ghost tgid":              {forest.RuleGhostTGID, 7, "tgid is 6", func(f F) { f.Tasks[7].TGID = 4 }},
		"tgid of a thread":        {forest.RuleGhostTGID, 11, "tgid is 8", func(f F) { f.Tasks[11].TGID = 10 }},
		"thread's group":          {forest.RuleThread, 7, "process group is not", func(f F) { f.Tasks[7].PGID = 4 }},
		"thread's session":        {forest.RuleThread, 7, "session is not", func(f F) { f.Tasks[7].SID = 13 }},
		"thread's parent":         {forest.RuleThread, 7, "parent is not", func(f F) { f.Tasks[7].Parent = 12 }},
		"thread's subreaper":      {forest.RuleThread, 7, "subreaper", func(f F) { f.Tasks[7].Subreaper = true }},
		"thread's group exit":     {forest.RuleThread, 11, "group exit code", func(f F) { f.Tasks[11].GroupExit = true }},
		"thread's user ns":        {forest.RuleThread, 7, "user namespace", func(f F) { f.Tasks[7].UserNamespace = 1 }},
		"thread's pid ns":         {forest.RuleThread, 7, "pid namespace", func(f F) { f.Pids[9] = forest.Pid{Namespace: 1, Numbers: []int32{8, 9}} }},
		"root's tag":              {forest.RuleRoot, 0, "its pid is #2", func(f F) { f.Tasks[0].Pid, f.Tasks[1].Pid = 2, 1 }},
		"root a thread":           {forest.RuleRoot, 0, "tgid #2", func(f F) { f.Tasks[0].TGID = 2 }},
		"root's number":           {forest.RuleRoot, 0, "number 2", func(f F) { f.Pids[0].Numbers[0] = 2 }},
		"root's namespace":        {forest.RuleRoot, 0, "namespace index 1", func(f F) { f.Pids[0] = forest.Pid{Namespace: 1, Numbers: []int32{100, 100}} }},
		"ids of nobody":           {forest.RuleExitIDs, none, "no task", saved(func(f F) { f.ExitIDs[1].Task = f.Tasks[2].PGID })},
		"ids from nowhere":        {forest.RuleExitIDs, none, "no task", saved(func(f F) { f.ExitIDs[1].Task = 99 })},
		"ids twice":               {forest.RuleExitIDs, none, "does not come after", saved(func(f F) { f.ExitIDs[1] = f.ExitIDs[0] })},
		"ids of the living":       {forest.RuleExitIDs, 1, "it is running", saved(func(f F) { f.ExitIDs = f.ExitIDs[:1]; f.ExitIDs[0].Task = f.Tasks[1].Pid })},
		"ids that say nothing":    {forest.RuleExitIDs, 10, "are listed", saved(func(f F) { f.ExitIDs = []forest.ExitIDs{{Task: f.Tasks[10].Pid}} })},
		"saved uid -1":            {forest.RuleIDs, 6, "uid 4294967295 and 1000", saved(func(f F) { f.ExitIDs[0].SUID = forest.InvalidID })},
		"gid -1 for files":        {forest.RuleIDs, 6, "gid 1001 and 4294967295", saved(func(f F) { f.ExitIDs[0].FSGID = forest.InvalidID })},
		"reference to nothing":    {forest.RuleReference, none, "not in the forest", referenced(func(f F) { f.References[1].Object = 99 })},
		"reference of nobody":     {forest.RuleReference, none, "no task", referenced(func(f F) { f.References[0].Holder = f.Tasks[2].PGID })},
		"reference from nowhere":  {forest.RuleReference, none, "nothing to do with", referenced(func(f F) { f.References[0].Holder, f.References[0].FD = 0, -1 })},
		"reference kind":          {forest.RuleReference, none, "kind 6", referenced(func(f F) { f.References[0].Kind = 6 })},
		"terminal's holder":       {forest.RuleReference, none, "a terminal's", referenced(func(f F) { f.References[2].Kind, f.References[2].Holder = 0, 1 })},
		"terminal of a pidfd":     {forest.RuleReference, none, "of terminal \"pts1\"", referenced(func(f F) { f.References[0].Terminal = "pts1" })},
		"terminal's name":         {forest.RuleReference, none, "64 bytes", referenced(func(f F) { f.References[2].Kind, f.References[2].Terminal = 0, strings.Repeat("t", 64) })},
		"departed, and no births": {forest.RuleOrigin, none, "nobody was born", told(func(f F) { f.Origins = nil })},
		"births of others":        {forest.RuleOrigin, none, "tells of 13 tasks", told(func(f F) { f.Origins = f.Origins[:13] })},
		"departed before born":    {forest.RuleOrigin, none, "does not come before", told(func(f F) { f.Departed[1].Departed = 1 })},
		"departed is there":       {forest.RuleOrigin, none, "no ghost", told(func(f F) { f.Departed[1].Object = f.Tasks[2].Pid })},
		"departed of what":        {forest.RuleOrigin, none, "no ghost", told(func(f F) { f.Departed[1].Object = -1 })},
		"a thread's birth":        {forest.RuleOrigin, 7, "a thread", told(func(f F) { f.Origins[7].By = 0 })},
		"root born inside":        {forest.RuleOrigin, 0, "the root", told(func(f F) { f.Origins[0].By = f.Tasks[1].Pid })},
		"born of itself":          {forest.RuleOrigin, 1, "of itself", told(func(f F) { f.Origins[1].By = f.Tasks[1].Pid })},
		"born of a thread":        {forest.RuleOrigin, 2, "no process", told(func(f F) { f.Origins[2].By = f.Tasks[7].Pid })},
		"born of a ghost":         {forest.RuleOrigin, 2, "no process", told(func(f F) { f.Origins[2].By = f.Tasks[9].SID })},
		"born of two":             {forest.RuleOrigin, 9, "and of departed process 1", told(func(f F) { f.Origins[9].By = f.Tasks[1].Pid })},
		"between nobody":          {forest.RuleOrigin, 3, "nobody", told(func(f F) { f.Origins[3].Between = 1 })},
		"no such departed":        {forest.RuleOrigin, 9, "process 2 of 2", told(func(f F) { f.Origins[9].Departed = 2 })},
		"no such session":         {forest.RuleOrigin, 9, "not in the forest", told(func(f F) { f.Origins[9].Session = 99 })},
		"another session":         {forest.RuleOrigin, 2, "without leading it", told(func(f F) { f.Origins[2].Session = f.Tasks[0].Pid })},
		"in its own group":        {forest.RuleOrigin, 9, "of its own", told(func(f F) { f.Origins[9].Group = f.Tasks[9].Pid })},
		"own ancestor": {forest.RuleOrigin, 1, "own ancestor", told(func(f F) {
			f.Origins[1].By = f.Tasks[2].Pid
		})},
		"own ancestor, by one that departed": {forest.RuleOrigin, 1, "own ancestor", told(func(f F) {
			f.Origins[1] = f.Origins[9]
			f.Origins[1].Session = forest.Null
		})},
		"descriptor of nobody":   {forest.RuleReference, none, "has descriptor 3", referenced(func(f F) { f.References[1].FD = 3 })},
		"no descriptor":          {forest.RuleReference, none, "has descriptor -1", referenced(func(f F) { f.References[0].FD = -1 })},
		"reference twice":        {forest.RuleReference, none, "does not come after", referenced(func(f F) { f.References[1] = f.References[0] })},
		"comm long":              {forest.RuleComm, 2, "16 bytes", func(f F) { f.Tasks[2].Comm = strings.Repeat("c", 16) }},
		"comm NUL":               {forest.RuleComm, 2, "NUL", func(f F) { f.Tasks[2].Comm = "a\x00" }},
		"exit signal":            {forest.RuleSignals, 2, "is 65", func(f F) { f.Tasks[2].ExitSignal = 65 }},
		"leader with -1":         {forest.RuleSignals, 2, "is -1", func(f F) { f.Tasks[2].ExitSignal = -1 }},
		"thread with 17":         {forest.RuleSignals, 7, "signal 17", func(f F) { f.Tasks[7].ExitSignal = 17 }},
		"pdeath":                 {forest.RuleSignals, 2, "is -1", func(f F) { f.Tasks[2].PdeathSignal = -1 }},
		"task's user ns":         {forest.RuleUserTree, 2, "index 3", func(f F) { f.Tasks[2].UserNamespace = 3 }},
		"uid -1":                 {forest.RuleIDs, 2, "gid 0 and 4294967295", func(f F) { f.Tasks[2].EGID = forest.InvalidID }},
		"state":                  {forest.RuleState, 2, "state 6", func(f F) { f.Tasks[2].State = 6 }},
		"stop of a running":      {forest.RuleState, 2, "stop signal 19", func(f F) { f.Tasks[2].StopSignal = 19 }},
		"reported of a running":  {forest.RuleState, 2, "reported: true", func(f F) { f.Tasks[2].StopReported = true }},
		"stopped by KILL":        {forest.RuleStop, 3, "signal 9", func(f F) { f.Tasks[3].StopSignal = 9 }},
		"init stopped by TSTP":   {forest.RuleStop, 4, "signal 20", func(f F) { f.Tasks[4].State, f.Tasks[4].StopSignal = forest.Stopped, 20 }},
		"thread a zombie":        {forest.RuleThreadExit, 7, "a thread and a zombie", func(f F) { f.Tasks[7].State = forest.Zombie }},
		"zombie with threads":    {forest.RuleThreadExit, 10, "other threads", func(f F) { f.Tasks[10].State = forest.Zombie }},
		"dead leader alone":      {forest.RuleThreadExit, 8, "no other thread", func(f F) { f.Tasks[8].State = forest.DeadLeader }},
		"status high":            {forest.RuleStatus, 8, "0x10000", func(f F) { f.Tasks[8].ExitCode = 1 << 16 }},
		"status negative":        {forest.RuleStatus, 8, "", func(f F) { f.Tasks[8].ExitCode = -1 }},
		"core of an exit":        {forest.RuleStatus, 8, "0x380", func(f F) { f.Tasks[8].ExitCode = 0x380 }},
		"core of TERM":           {forest.RuleStatus, 8, "0x8f", func(f F) { f.Tasks[8].ExitCode = 0x8f }},
		"killed by CHLD":         {forest.RuleStatus, 8, "0x11", func(f F) { f.Tasks[8].ExitCode = 17 }},
		"killed by 65":           {forest.RuleStatus, 8, "0x41", func(f F) { f.Tasks[8].ExitCode = 65 }},
		"code and signal":        {forest.RuleStatus, 8, "0x109", func(f F) { f.Tasks[8].ExitCode = 0x109 }},
		"group's status":         {forest.RuleStatus, 6, "0x13", func(f F) { f.Tasks[6].GroupExitCode = 19 }},
		"init killed by TERM":    {forest.RuleInitStatus, 12, "0xf", func(f F) { f.Tasks[12].GroupExitCode = 15 }},
		"group out of range":     {forest.RuleTags, 2, "group is #18", func(f F) { f.Tasks[2].PGID = 18 }},
		"session out of range":   {forest.RuleTags, 2, "session is #-1", func(f F) { f.Tasks[2].SID = -1 }},
		"group outside":          {forest.RuleOutside, 2, "led from outside", func(f F) { f.Tasks[2].PGID = forest.Outside }},
		"session outside":        {forest.RuleOutside, 2, "led from outside", func(f F) { f.Tasks[2].SID = forest.Outside }},
		"session not inherited":  {forest.RuleInherited, 13, "root's is 1", func(f F) { f.Tasks[0].SID, f.Tasks[0].PGID = 1, 1 }},
		"group not inherited":    {forest.RuleInherited, 13, "root's is 1", func(f F) { f.Tasks[0].SID, f.Tasks[0].PGID = 1, 1; f.Tasks[13].SID = 17 }},
		"root in a session":      {forest.RuleSession, 0, "must be its ancestor", func(f F) { f.Tasks[0].SID = 13 }},
		"session below":          {forest.RuleAbove, 9, "session 13/3 lives elsewhere", func(f F) { f.Tasks[9].SID = 9 }},
		"session beside":         {forest.RuleAbove, 12, "session 18/1 lives elsewhere", func(f F) { f.Tasks[12].SID = 6 }},
		"parent out of range":    {forest.RuleTags, 2, "parent is #18", func(f F) { f.Tasks[2].Parent = 18 }},
		"thread out of range":    {forest.RuleTags, 2, "thread inherited", func(f F) { f.Tasks[2].ParentThread = forest.Inherited }},
		"half outside":           {forest.RuleOutside, 13, "thread #2", func(f F) { f.Tasks[13].ParentThread = 2 }},
		"root's parent task":     {forest.RuleOutside, 0, "the root's are", func(f F) { f.Tasks[0].Parent, f.Tasks[0].ParentThread = 2, 2 }},
		"parent a ghost":         {forest.RuleParent, 2, "no thread 6", func(f F) { f.Tasks[2].Parent, f.Tasks[2].ParentThread = 4, 4 }},
		"parent a thread":        {forest.RuleParent, 8, "parent 8 has no thread 8", func(f F) { f.Tasks[8].Parent = 10 }},
		"thread of another":      {forest.RuleParent, 8, "parent 1 has no thread 8", func(f F) { f.Tasks[8].Parent = 1 }},
		"parent a zombie":        {forest.RuleParent, 8, "is a zombie", func(f F) { zombify(f, 7, 8) }},
		"parent a dead leader":   {forest.RuleParent, 9, "is a dead leader", func(f F) { f.Tasks[9].Parent, f.Tasks[9].ParentThread = 14, 14 }},
		"parent below":           {forest.RuleAbove, 9, "parent 11/1 lives elsewhere", func(f F) { f.Tasks[9].Parent, f.Tasks[9].ParentThread = 7, 7 }},
		"init's parent inside":   {forest.RuleInit, 4, "lives in the same namespace", func(f F) { f.Tasks[4].Parent, f.Tasks[4].ParentThread = 7, 7 }},
		"child ns missing":       {forest.RuleChildNS, 9, "index 7, is not", func(f F) { f.Tasks[9].ChildNamespace = 7 }},
		"child ns negative":      {forest.RuleChildNS, 9, "index -2, is not", func(f F) { f.Tasks[9].ChildNamespace = -2 }},
		"child ns of a zombie":   {forest.RuleChildNS, 8, "a zombie", func(f F) { f.Tasks[8].ChildNamespace = 5 }},
		"child ns its own":       {forest.RuleChildNS, 9, "not below its own", func(f F) { f.Tasks[9].ChildNamespace = 0 }},
		"child ns above":         {forest.RuleChildNS, 4, "not below its own", func(f F) { f.Tasks[4].ChildNamespace = 3 }},
		"own parent":             {forest.RuleOrder, 9, "does not follow its parent", func(f F) { f.Tasks[9].Parent, f.Tasks[9].ParentThread = 12, 12 }},
		"children after threads": {forest.RuleOrder, 8, "does not follow its parent thread 7", func(f F) { f.Tasks[8].ParentThread = 2 }},
		"thread after another":   {forest.RuleOrder, 12, "does not follow the other threads", func(f F) { f.Tasks[11], f.Tasks[12] = f.Tasks[12], f.Tasks[11] }},
		"session of a non-lead":  {forest.RuleSession, 2, "task is in session 7 and group 18/1", func(f F) { f.Tasks[2].SID = 5 }},
		"session of a thread":    {forest.RuleSession, 9, "session is 8", func(f F) { f.Tasks[9].SID = 10; f.Tasks[9].PGID = 10 }},
		"leader left its group":  {forest.RuleSession, 1, "session 7 and group 6", func(f F) { f.Tasks[1].PGID = 4; f.Tasks[7].PGID = 4 }},
		"group of a thread":      {forest.RuleGroup, 2, "number of a thread", func(f F) { f.Tasks[2].PGID = 10 }},
		"group in two sessions":  {forest.RuleGroup, 9, "group 6 is in session 7, and its own is 5", func(f F) { f.Tasks[9].PGID = 4 }},
		"group of a session":     {forest.RuleGroup, 2, "group 5 is in session 5", func(f F) { f.Tasks[2].PGID = 13 }},
		"group of a task":        {forest.RuleGroup, 9, "group 9 is in session 7", func(f F) { f.Tasks[9].PGID = 3 }},
		"inherited group":        {forest.RuleGroup, 9, "group inherited is in session inherited", func(f F) { f.Tasks[9].PGID = forest.Inherited }},
		"number 1 a thread":      {forest.RuleInit, 6, "a thread of", func(f F) { threadNumberOne(f) }},
		"exiting, ns alive":      {forest.RuleAlive, 12, "whose state is alive", func(f F) { f.Namespaces[3].State = forest.Alive }},
		"exiting, no init":       {forest.RuleAlive, 9, "init is another", func(f F) { f.Tasks[9].State = forest.ExitingInit; f.Tasks[9].ChildNamespace = -1 }},
		"ns exiting, init lives": {forest.RuleAlive, none, "none of its tasks waits", func(f F) { f.Namespaces[1].State = forest.InitExiting }},
		"tasks in an empty ns":   {forest.RuleEmpty, none, "it is empty, and 3 objects", func(f F) { f.Namespaces[1].State = forest.Empty }},
		"tasks in a spoilt ns":   {forest.RuleEmpty, none, "it is spoilt, and 1 objects", func(f F) { f.Namespaces[2].State = forest.Spoilt }},
		"alive without an init":  {forest.RuleAlive, none, "state is alive, and its init has ended", func(f F) { f.Namespaces[4].State = forest.Alive }},
		"ghost init, alive":      {forest.RuleAlive, none, "init has ended", func(f F) { f.Namespaces[5].State = forest.Alive }},
		"dead with a live init":  {forest.RuleAlive, none, "its init has not ended", func(f F) { f.Namespaces[2].State = forest.Dead }},
		"dead with more": {forest.RuleEmpty, none, "other than its init's", func(f F) {
			f.Pids[12] = forest.Pid{Namespace: 4, Numbers: []int32{5, 2}}
			f.Tasks[9].PGID, f.Tasks[9].SID = 12, 12
			f.Tasks[2].PGID = 13
		}},
		"dead with another": {forest.RuleEmpty, none, "other than its init's", func(f F) { f.Pids[5].Numbers[1] = 2 }},
		"zombie init, not alone": {forest.RuleEmpty, none, "other than its init's", func(f F) {
			f.Tasks[12].State, f.Namespaces[3].State = forest.Zombie, forest.Dead
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := foresttest.Sample()
			c.change(f)
			var e *forest.Invalid
			if err := forest.Validate(f); !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.Rule != c.rule || e.Task != c.task || !strings.Contains(e.Reason, c.reason) {
				t.Errorf("got %v\n(task %d)\nwant %q, task %d, %q", e, e.Task, c.rule, c.task, c.reason)
			}
			if e.Task == none && e.Tag == 0 && e.Namespace == none && e.UserNamespace == none &&
				e.Rule != forest.RuleShape && e.Rule != forest.RuleOrigin && name != "reference from nowhere" {
				t.Errorf("it names nothing: %v", e)
			}
		})
	}
}

func deepUsers(f *forest.Forest) {
	for range 33 {
		f.UserNamespaces = append(f.UserNamespaces, forest.UserNamespace{Parent: len(f.UserNamespaces) - 1})
	}
}

func deepNamespaces(f *forest.Forest) {
	f.Namespaces[6].Parent, f.Namespaces[6].Level = 2, 3
	f.Namespaces[6].Owner = 2
	for l := 4; l <= 33; l++ {
		f.Namespaces = append(f.Namespaces, forest.Namespace{
			Parent: len(f.Namespaces) - 1, Level: l, Owner: 2, State: forest.Empty,
		})
	}
}

// zombify makes the task before i a zombie child of the same parent, and the
// parent of i.
func zombify(f *forest.Forest, at, i int) {
	z := f.Tasks[i]
	z.Pid, z.TGID, z.State = 18, 18, forest.Zombie
	f.Pids = append(f.Pids, forest.Pid{Numbers: []int32{30}})
	f.Tasks = slices.Insert(f.Tasks, at, z)
	f.Tasks[at].ParentThread = 2
	f.Tasks[i+1].Parent, f.Tasks[i+1].ParentThread = 18, 18
	// Back to where i was.
	f.Tasks[at+1], f.Tasks[i+1] = f.Tasks[i+1], f.Tasks[at+1]
}

// threadNumberOne makes number 1 of the namespace of 11/1 a thread of 13/3.
func threadNumberOne(f *forest.Forest) {
	f.Pids[6].Numbers[1], f.Pids[8].Numbers[1] = 3, 1
	f.Tasks[6] = f.Tasks[4]
	f.Tasks[6].Pid, f.Tasks[6].ExitSignal = 9, -1
	f.Tasks[6].Parent, f.Tasks[6].ParentThread = f.Tasks[4].Parent, f.Tasks[4].ParentThread
}

// TestSubtreeRules are those that differ from a container's.
func TestSubtreeRules(t *testing.T) {
	f := foresttest.BelowRoot()
	f.Tasks[3].Parent, f.Tasks[3].ParentThread = forest.Outside, forest.Outside
	var e *forest.Invalid
	if err := forest.Validate(f); !errors.As(err, &e) || e.Rule != forest.RuleOutside {
		t.Errorf("an entrant in a subtree: %v", err)
	}
	f = foresttest.BelowRoot()
	f.Namespaces[1].State = forest.InitExiting
	if err := forest.Validate(f); err != nil {
		t.Errorf("a namespace whose init ends outside: %v", err)
	}
	f.Namespaces[1].State = forest.Empty
	if err := forest.Validate(f); !errors.As(err, &e) || e.Rule != forest.RuleEmpty {
		t.Errorf("a task in an empty namespace: %v", err)
	}
}

func TestEntrantsByNumber(t *testing.T) {
	f := foresttest.Sample()
	second := f.Tasks[13]
	second.Pid, second.TGID = 18, 18
	f.Pids = append(f.Pids, forest.Pid{Namespace: 3, Numbers: []int32{2, 3}})
	f.Tasks = append(f.Tasks, second)
	var e *forest.Invalid
	if err := forest.Validate(f); !errors.As(err, &e) || e.Rule != forest.RuleOrder || e.Task != 14 {
		t.Errorf("got %v", err)
	}
	f.Tasks[13], f.Tasks[14] = f.Tasks[14], f.Tasks[13]
	if err := forest.Validate(f); err != nil {
		t.Error(err)
	}
}

// TestNeverPanics sets fields of a valid forest to extreme values: Validate
// must give a verdict, and the index and the diff must survive what it accepts.
func TestNeverPanics(t *testing.T) {
	ints := []int64{0, 1, 2, 3, 9, 17, -1, -2, -4096, -4097, 99, math.MaxInt32, math.MinInt32}
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Sample()
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			var leaves []reflect.Value
			collect(reflect.ValueOf(f).Elem(), &leaves)
			v := leaves[rapid.IntRange(0, len(leaves)-1).Draw(t, "field")]
			n := rapid.SampledFrom(ints).Draw(t, "value")
			switch v.Kind() {
			case reflect.Bool:
				v.SetBool(!v.Bool())
			case reflect.String:
				v.SetString("changed")
			case reflect.Uint8, reflect.Uint32, reflect.Uint64:
				v.SetUint(uint64(n))
			case reflect.Slice:
				v.SetLen(int(min(uint64(n), uint64(v.Len()))))
			default:
				v.SetInt(n)
			}
		}
		if err := forest.Validate(f); err != nil {
			_ = err.Error()
			return
		}
		accepted++
		forest.Diff(foresttest.Sample(), f, forest.DiffOptions{LiveIDs: true})
		forest.Diff(f, foresttest.Sample(), forest.DiffOptions{LiveIDs: true})
	})
	if accepted == 0 {
		t.Error("no change was accepted: the test is too coarse")
	}
}

func collect(v reflect.Value, leaves *[]reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			collect(v.Field(i), leaves)
		}
	case reflect.Slice:
		for i := range v.Len() {
			collect(v.Index(i), leaves)
		}
		*leaves = append(*leaves, v)
	default:
		*leaves = append(*leaves, v)
	}
}
