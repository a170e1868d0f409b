package s3test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Line is a way to a Server that a test can make slow or break. It starts as a good one.
type Line struct {
	Endpoint string

	t      *testing.T
	target string

	mu    sync.Mutex
	rate  int64
	fault fault
}

// Way is a direction of what a Line carries.
type Way int

// The ways: Up to the server, Down from it.
const (
	Up Way = iota
	Down
)

type fault struct {
	way   Way
	after int64
	then  func()
}

// Line opens one, which ends with the test.
func (s *Server) Line(t *testing.T) *Line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed below
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	line := &Line{Endpoint: "http://" + l.Addr().String(), t: t, target: s.address}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go line.carry(conn)
		}
	}()
	return line
}

// Slow lets so many bytes a second pass on each connection in each way; 0 is as many as come.
func (l *Line) Slow(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = bytes
}

// Break ends each connection that has carried so many bytes that way, when then returns; nil is at once. Those that are open are bound by it as well.
func (l *Line) Break(way Way, after int64, then func()) {
	if then == nil {
		then = func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault{way, after, then}
}

// Mend makes it a good line again; what is broken stays so.
func (l *Line) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.fault = 0, fault{}
}

func (l *Line) state() (rate int64, f fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rate, l.fault
}

func (l *Line) carry(in net.Conn) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", l.target) //nolint:noctx // a test's
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	go func() {
		defer func() { _, _ = in.Close(), out.Close() }()
		l.pass(out, in, Up)
	}()
	l.pass(in, out, Down)
}

// piece is how much is passed on at a time; of a slow line what passes in a tick.
const (
	piece = 32 << 10
	tick  = 20 * time.Millisecond
)

func (l *Line) pass(to io.Writer, from io.Reader, way Way) {
	buffer := make([]byte, piece)
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for passed := int64(0); ; {
		rate, _ := l.state()
		most := int64(piece)
		if rate > 0 {
			most = min(piece, max(1, rate*int64(tick)/int64(time.Second)))
			select {
			case <-ticks.C:
			case <-l.t.Context().Done():
				return
			}
		}
		n, err := from.Read(buffer[:most])
		if _, f := l.state(); f.then != nil && f.way == way && passed+int64(n) > f.after {
			_, _ = to.Write(buffer[:max(0, f.after-passed)])
			f.then()
			return
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
		passed += int64(n)
	}
}
