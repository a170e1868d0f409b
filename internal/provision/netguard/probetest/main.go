// Command probetest is what the tests run in containers: it serves, dials and looks at itself, plays the world outside the host, and
// keeps the firewall as controlplane does. The tests of internal/provision/docker build it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"controlplane/internal/provision/netguard"
)

const dialTimeout = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // nothing is left to undo
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("what?")
	}
	switch rest := args[1:]; args[0] {
	case "netguard":
		return netguard.Command(ctx, rest, os.Stdout)
	case "serve":
		return serve(ctx, rest)
	case "dial":
		dial(ctx, rest)
		return nil
	case "outside":
		return outside(ctx, rest)
	case "print":
		return printLines(rest)
	case "self":
		return self()
	case "eat":
		return eat(rest)
	case "keep":
		if err := eat(rest); err != nil {
			return err
		}
		return serve(ctx, nil)
	}
	return fmt.Errorf("what is %q?", args[0])
}

// serve listens on "tcp/:443" and the like until ctx ends.
func serve(ctx context.Context, ports []string) error {
	for _, port := range ports {
		if err := listen(ctx, port); err != nil {
			return err
		}
	}
	fmt.Println("listening")
	<-ctx.Done()
	return nil
}

func listen(ctx context.Context, port string) error {
	network, number, _ := strings.Cut(port, "/")
	config := net.ListenConfig{}
	if network == "udp" {
		conn, err := config.ListenPacket(ctx, "udp4", number)
		if err != nil {
			return err
		}
		go echo(conn)
		return nil
	}
	listener, err := config.Listen(ctx, "tcp4", number)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}()
	return nil
}

// echo answers each datagram as a name server would that knows no name, which is enough to be seen.
func echo(conn net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if n > 3 {
			buffer[2] |= 0x80 // an answer
			buffer[3] = 3     // no such name
		}
		_, _ = conn.WriteTo(buffer[:n], from)
	}
}

// dial prints "<target> open", "<target> refused" or "<target> silent" for each "tcp/1.2.3.4:443", all at the same time.
func dial(ctx context.Context, targets []string) {
	lines := make(chan string)
	for _, target := range targets {
		go func() { lines <- target + " " + outcome(ctx, target) }()
	}
	for range targets {
		fmt.Println(<-lines)
	}
}

func outcome(ctx context.Context, target string) string {
	network, address, _ := strings.Cut(target, "/")
	if network == "dns" {
		_, err := net.DefaultResolver.LookupHost(ctx, address)
		var dnsErr *net.DNSError
		if errors.As(err, &dnsErr) && dnsErr.IsNotFound {
			return "open" // the server said that there's no such name
		}
		return fmt.Sprint(err)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil {
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(dialTimeout))
		if network == "udp" {
			_, _ = conn.Write([]byte("ping"))
		}
		_, err = conn.Read(make([]byte, 16))
	}
	var timeout net.Error
	switch {
	case err == nil:
		return "open"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "silent"
	}
	return err.Error()
}

// printLines prints "line 1" to "line <n>", ends with the given code, and before that waits for as many milliseconds as are given.
func printLines(args []string) error {
	numbers := make([]int, 3)
	for i, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	time.Sleep(time.Duration(numbers[2]) * time.Millisecond)
	for i := range numbers[0] {
		fmt.Println("line", i+1)
	}
	os.Exit(numbers[1])
	return nil
}

// self prints what this process may do.
func self() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		for _, name := range []string{"Uid:", "Gid:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:"} {
			if strings.HasPrefix(line, name) {
				fmt.Print(strings.ReplaceAll(line, "\t", " "))
			}
		}
	}
	for _, path := range []string{"/x", "/tmp/x", "/data/x"} {
		fmt.Println("write", path, os.WriteFile(path, []byte("x"), 0o600) == nil)
	}
	name, err := os.Hostname()
	fmt.Println("hostname", name)
	return err
}

// eat takes as many megabytes as are given, and waits for the end.
func eat(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	food := make([]byte, n<<20)
	for i := 0; i < len(food); i += 4096 {
		food[i] = 1
	}
	fmt.Println("ate", len(food))
	return nil
}
