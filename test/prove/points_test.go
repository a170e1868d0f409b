package prove_test

import (
	"cmp"
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
	"sync"

	"controlplane/test/wire"
)

// point is a moment in the life of an operation at which the process can die: at a call to the engine, to the tenants' database server, to the
// store of backups, or to the platform database for a checkpoint.
type point struct {
	Step   string
	Server string
	Call   string // with names made neutral
	Nth    int    // of this call, from 1
	Phase  wire.Phase
}

// boundary reports whether the point is between two steps rather than in one.
func (p point) boundary() bool { return p.Server == "platform" }

// lens tells the calls that are made for one subject from all others, and makes them comparable between subjects.
type lens struct {
	names []string
	mine  func(operation int64) bool

	mu     sync.Mutex
	ids    []string       // of the subject's objects on the engine
	within map[int64]bool // connections with an open transaction for the subject
	seen   map[string]int
}

func newLens(w *world, s subject) *lens {
	names := slices.Clone(s.names)
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	mine := func(id int64) bool {
		o := w.operation(id)
		return o.kind == s.kind && (o.subject == s.Subject || strings.HasSuffix(s.Subject, "/") && strings.HasPrefix(o.subject, s.Subject))
	}
	return &lens{names: names, mine: mine, within: map[int64]bool{}, seen: map[string]int{}}
}

var (
	engineID   = regexp.MustCompile(`"Id":\s*"([0-9a-f]{64})"`)       //nolint:gochecknoglobals // a constant
	verifier   = regexp.MustCompile(`SCRAM-SHA-256\$[^']*`)           //nolint:gochecknoglobals // a constant
	hexadecime = regexp.MustCompile(`[0-9a-fA-F]{8,}`)                //nolint:gochecknoglobals // a constant
	places     = regexp.MustCompile(`CONNECTION LIMIT \d+`)           //nolint:gochecknoglobals // a constant
	owner      = regexp.MustCompile(`\b(tenant|template|backup)/\d+`) //nolint:gochecknoglobals // a constant
	// moments, numbers of objects, and those that end a name: of backups, operations and restores
	uuids   = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`) //nolint:gochecknoglobals // a constant
	numbers = regexp.MustCompile(`(\$T|\$H_|_r)\d+|\d{5,}`)                   //nolint:gochecknoglobals // a constant
)

// What internal/ops runs when a worker takes an operation over, and at each checkpoint, with the places of two arguments.
const (
	saving        = "WITH mine AS ( UPDATE operations SET token = token + 1"
	beginning     = "WITH old AS (SELECT id, paused FROM operations"
	stateArgument = 7
	stepArgument  = 8

	ended = "(ended)"
)

// see returns what the call is called, and false when it isn't made for the subject. Each call is shown once, before it is made.
func (l *lens) see(c wire.Call) (name string, nth int, ours bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ours(c) {
		return "", 0, false
	}
	name = c.Server + " " + l.neutral(c.Text)
	l.seen[name]++
	return name, l.seen[name], true
}

func (l *lens) ours(c wire.Call) bool {
	switch c.Server {
	case "platform":
		if l.within[c.Conn] && strings.EqualFold(c.Text, "commit") {
			delete(l.within, c.Conn)
			return true
		}
		_, ok := l.checkpoint(c)
		if ok && c.InTx {
			l.within[c.Conn] = true
		}
		return ok
	case "tenants":
		if strings.HasPrefix(c.Text, "PREPARE ") {
			return false
		}
		if slices.ContainsFunc(l.names, func(n string) bool { return strings.Contains(c.Raw, n) }) {
			l.within[-c.Conn] = c.InTx
			return true
		}
		end := l.within[-c.Conn] && strings.EqualFold(c.Text, "commit")
		if end {
			delete(l.within, -c.Conn)
		}
		return end
	}
	named := func(n string) bool { return strings.Contains(c.Text, n) || strings.Contains(c.Raw, n) }
	return slices.ContainsFunc(l.names, named) || slices.ContainsFunc(l.ids, named)
}

// checkpoint reports whether the call writes where an operation of the subject stands, and which step is next then; "" at the start of a
// worker's hold on it.
func (l *lens) checkpoint(c wire.Call) (next string, ok bool) {
	save := strings.HasPrefix(c.Text, saving) && len(c.Args) > stepArgument
	if !save && (!strings.HasPrefix(c.Text, beginning) || len(c.Args) == 0) || len(c.Args[0]) != 8 {
		return "", false
	}
	id := binary.BigEndian.Uint64([]byte(c.Args[0]))
	if !l.mine(int64(id)) { //nolint:gosec // it was an int64 before
		return "", false
	}
	if !save {
		return "", true
	}
	if c.Args[stateArgument] == "done" {
		return ended, true
	}
	return c.Args[stepArgument], true
}

// learn remembers the ids of the subject's objects from answers of the engine.
func (l *lens) learn(c wire.Call) {
	if c.Server != "engine" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ours(c) {
		return
	}
	for _, m := range engineID.FindAllStringSubmatch(c.Raw, -1) {
		if !slices.Contains(l.ids, m[1]) {
			l.ids = append(l.ids, m[1])
		}
	}
}

func (l *lens) neutral(text string) string {
	for _, n := range l.names {
		text = strings.ReplaceAll(text, n, "$T")
	}
	text = verifier.ReplaceAllString(text, "$$V")
	text = uuids.ReplaceAllString(text, "$$U")
	text = hexadecime.ReplaceAllString(text, "$$H")
	text = numbers.ReplaceAllString(text, "$1$$N")
	text = places.ReplaceAllString(text, "CONNECTION LIMIT $$N")
	text = owner.ReplaceAllString(text, "$1/$$N")
	return text[:min(len(text), 160)]
}

// recorded is a call as a dry run saw it.
type recorded struct {
	name string
	nth  int
	conn int64
	inTx bool
	next string // of a checkpoint: the step that comes after
}

// recorder notes all calls for a subject.
type recorder struct {
	lens *lens

	mu    sync.Mutex
	calls []recorded
}

func (r *recorder) hook(c wire.Call, p wire.Phase) bool {
	switch p {
	case wire.During:
	case wire.Before:
		if name, nth, ours := r.lens.see(c); ours {
			r.mu.Lock()
			next, _ := r.lens.checkpoint(c)
			r.calls = append(r.calls, recorded{name: name, nth: nth, conn: c.Conn, inTx: c.InTx, next: next})
			r.mu.Unlock()
		}
	case wire.After:
		r.lens.learn(c)
	}
	return false
}

// points gives each call its step: the one that the checkpoint before it named. What comes before the operation and after it is left out; or
// what comes before it is all.
func (r *recorder) points(first string, prelude bool) []point {
	r.mu.Lock()
	defer r.mu.Unlock()
	var points []point
	step, next, commit := "", "", int64(0)
	if prelude {
		step = "before"
	}
	for _, c := range r.calls {
		server, call, _ := strings.Cut(c.name, " ")
		if prelude && server == "platform" {
			break
		}
		if step == "" && server == "platform" {
			step = first
		}
		if step == "" || step == ended {
			continue
		}
		for _, phase := range []wire.Phase{wire.Before, wire.During, wire.After} {
			points = append(points, point{Step: step, Server: server, Call: call, Nth: c.nth, Phase: phase})
		}
		switch {
		case c.next != "" && c.inTx:
			next, commit = c.next, c.conn
		case c.next != "":
			step = c.next
		case server == "platform" && c.conn == commit:
			step, commit = next, 0
		}
	}
	return points
}

// killer kills at one point, once.
type killer struct {
	lens  *lens
	point point
	kill  func()

	mu     sync.Mutex
	target *wire.Call // the call to be killed at, once it has begun
	fired  bool
}

func (k *killer) hook(c wire.Call, p wire.Phase) bool {
	if p == wire.After {
		k.lens.learn(c)
	}
	if !k.due(c, p) {
		return false
	}
	k.kill()
	return true
}

func (k *killer) due(c wire.Call, p wire.Phase) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fired {
		return false
	}
	if p == wire.Before {
		name, nth, ours := k.lens.see(c)
		if !ours || name != k.point.Server+" "+k.point.Call || nth != k.point.Nth {
			return false
		}
		k.target = &c
	}
	if k.target == nil || p != k.point.Phase || c.Server != k.target.Server || c.Text != k.target.Text || c.Conn != k.target.Conn {
		return false
	}
	k.fired = true
	return true
}

func (k *killer) hit() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fired
}
