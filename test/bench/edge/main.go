// Command edge measures our edge beside a plain Caddy and Debian's nginx, which pass the same requests on to the same upstream in turns,
// and what a table of ten thousand clients with twenty thousand domains costs. See "make bench".
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"

	"controlplane/test/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "edge:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == caddyRole {
		return runCaddy(ctx, args[1], args[2])
	}
	r, err := rig.New(ctx, rig.Options{})
	if err != nil {
		return err
	}
	err = measure(ctx, r)
	if closeErr := r.Close(ctx); err == nil {
		err = closeErr
	}
	return err
}

// measure fills the table first: the edge is compared as it is with all its clients.
func measure(ctx context.Context, r *rig.Rig) error {
	up, err := newUpstream("one")
	if err != nil {
		return err
	}
	defer up.close()
	other, err := newUpstream("two")
	if err != nil {
		return err
	}
	defer other.close()
	if err := fill(ctx, r, up.port); err != nil {
		return fmt.Errorf("fill the table: %w", err)
	}
	dir, err := os.MkdirTemp("", "bench-edge-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{rig: r, up: up, other: other, state: dir + "/routes.json"}
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.compare(ctx); err != nil {
		return err
	}
	if err := b.changes(ctx); err != nil {
		return err
	}
	return b.memory("after all of it")
}

// free returns a loopback address that nobody listens on.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// upstream answers every request with a kilobyte, with as little work as can be: what is measured is in front of it.
type upstream struct {
	l    net.Listener
	port int
}

const pageBytes = 1024

func newUpstream(name string) (*upstream, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	body := fmt.Sprintf("%-*s", pageBytes, name)
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nX-Upstream: " + name + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(conn, answer)
		}
	}()
	addr, _ := l.Addr().(*net.TCPAddr)
	return &upstream{l: l, port: addr.Port}, nil
}

func (u *upstream) close() { _ = u.l.Close() }

// answerAll answers requests without bodies until the other side hangs up.
func answerAll(conn net.Conn, answer []byte) {
	defer func() { _ = conn.Close() }()
	buffer, end := make([]byte, 8<<10), 0
	for {
		n, err := conn.Read(buffer[end:])
		if err != nil {
			return
		}
		if end += n; !endsHead(buffer[:end]) {
			continue
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
		end = 0
	}
}

func endsHead(text []byte) bool {
	return len(text) >= 4 && string(text[len(text)-4:]) == "\r\n\r\n"
}
