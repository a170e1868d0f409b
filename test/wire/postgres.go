package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// Postgres is a proxy in front of a PostgreSQL server, for connections without TLS.
type Postgres struct {
	gate

	*listener
	server   string
	upstream string
	count    atomic.Int64

	mu      sync.Mutex
	clients map[int]int // ports of our connections to the server: that of the client
}

// NewPostgres passes what comes to the address on to upstream. server names it in Calls. Only connections from this machine itself are
// looked into; others (the tenants') pass through.
func NewPostgres(server, address, upstream string) *Postgres {
	p := &Postgres{server: server, upstream: upstream, clients: map[int]int{}}
	p.listener = newListener("tcp", address, p.handle)
	return p
}

func (p *Postgres) handle(client net.Conn) {
	up, err := net.Dial("tcp", p.upstream) //nolint:noctx // as long as the client
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	p.mu.Lock()
	p.clients[portOf(up.LocalAddr())] = portOf(client.RemoteAddr())
	p.mu.Unlock()
	host, _, _ := net.SplitHostPort(client.RemoteAddr().String())
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		go func() { _, _ = io.Copy(up, client); _ = up.Close() }()
		_, _ = io.Copy(client, up)
		return
	}
	c := &session{proxy: p, client: client, up: up, number: p.count.Add(1), statements: map[string]string{}, status: 'I'}
	go func() {
		defer func() { _ = client.Close(); _ = up.Close() }()
		c.backward()
	}()
	_ = c.forward()
	_ = up.Close()
}

// ClientOf returns the port of the client whose connection the server sees as coming from port; 0 when there is none.
func (p *Postgres) ClientOf(port int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients[port]
}

func portOf(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// session is one connection.
type session struct {
	proxy      *Postgres
	client, up net.Conn
	number     int64
	database   string
	statements map[string]string // text of prepared statements

	mu      sync.Mutex
	current []Call // sent and not yet answered, oldest first
	status  byte   // of the transaction, as the last answer said
}

var errCut = errors.New("cut")

// forward passes on what the client sends. A call is a simple query, or everything up to a Sync.
func (c *session) forward() error {
	in := bufio.NewReader(c.client)
	if err := c.startup(in); err != nil {
		return err
	}
	var pending bytes.Buffer
	text, prepared := "", true
	var args []string
	for {
		kind, message, err := read(in)
		if err != nil {
			return err
		}
		pending.Write(message)
		body := message[5:]
		switch kind {
		case 'Q':
			text, prepared = cstring(body), false
		case 'P':
			name, rest := cstring(body), body[len(cstring(body))+1:]
			c.statements[name] = cstring(rest)
			text = c.statements[name]
		case 'B':
			rest := body[len(cstring(body))+1:]
			text, prepared = c.statements[cstring(rest)], false
			args = arguments(rest[len(cstring(rest))+1:])
		}
		switch kind {
		case 'Q', 'S':
			if prepared {
				text = "PREPARE " + text
			}
			if err := c.send(pending.Bytes(), text, args); err != nil {
				return err
			}
			text, prepared, args = "", true, nil
		case 'p', 'd', 'c', 'f', 'X', 'H':
			if _, err := c.up.Write(pending.Bytes()); err != nil {
				return err
			}
		default:
			continue
		}
		pending.Reset()
	}
}

func (c *session) send(message []byte, text string, args []string) error {
	c.mu.Lock()
	call := Call{
		Server: c.proxy.server, Text: squeeze(text), Args: args, Raw: c.database + "\n" + short(message), Conn: c.number, InTx: c.status != 'I',
	}
	c.mu.Unlock()
	if c.proxy.at(call, Before) {
		return errCut
	}
	c.mu.Lock()
	c.current = append(c.current, call)
	c.mu.Unlock()
	if _, err := c.up.Write(message); err != nil {
		return err
	}
	if c.proxy.at(call, During) {
		return errCut
	}
	return nil
}

// startup passes on the first message, which has no type.
func (c *session) startup(in *bufio.Reader) error {
	head := make([]byte, 4)
	if _, err := io.ReadFull(in, head); err != nil {
		return err
	}
	body := make([]byte, int(binary.BigEndian.Uint32(head))-4)
	if _, err := io.ReadFull(in, body); err != nil {
		return err
	}
	fields := strings.Split(string(body[4:]), "\x00")
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "database" {
			c.database = fields[i+1]
		}
	}
	_, err := c.up.Write(append(head, body...))
	return err
}

// backward passes on what the server says. ReadyForQuery ends a call.
func (c *session) backward() {
	in := bufio.NewReader(c.up)
	out := bufio.NewWriter(c.client)
	for {
		kind, message, err := read(in)
		if err != nil {
			return
		}
		if kind == 'Z' && c.answered(message[5]) {
			return
		}
		if _, err := out.Write(message); err != nil {
			return
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return
			}
		}
	}
}

func (c *session) answered(status byte) (cut bool) {
	c.mu.Lock()
	c.status = status
	if len(c.current) == 0 { // the end of the login
		c.mu.Unlock()
		return false
	}
	call := c.current[0]
	c.current = c.current[1:]
	c.mu.Unlock()
	return c.proxy.at(call, After)
}

func read(in *bufio.Reader) (kind byte, message []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(in, head); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(head[1:])) - 4
	message = make([]byte, 5+n)
	copy(message, head)
	_, err = io.ReadFull(in, message[5:])
	return head[0], message, err
}

// arguments reads those of a Bind message, after the names.
func arguments(b []byte) []string {
	formats := int(binary.BigEndian.Uint16(b))
	b = b[2+2*formats:]
	count := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	args := make([]string, 0, count)
	for range count {
		n := int(int32(binary.BigEndian.Uint32(b))) //nolint:gosec // -1 is null
		b = b[4:]
		if n < 0 {
			args = append(args, "")
			continue
		}
		args = append(args, string(b[:n]))
		b = b[n:]
	}
	return args
}

func cstring(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

func squeeze(sql string) string { return strings.Join(strings.Fields(sql), " ") }
