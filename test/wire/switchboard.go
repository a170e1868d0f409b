package wire

import (
	"errors"
	"net"
	"sync"
)

// listener listens again and again at the same place: what is down refuses connections, and those that are open break.
type listener struct {
	network, address string
	serve            func(net.Conn)

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]struct{}
}

func newListener(network, address string, serve func(net.Conn)) *listener {
	return &listener{network: network, address: address, serve: serve, conns: map[net.Conn]struct{}{}}
}

// Up begins to listen.
func (s *listener) Up() error {
	l, err := net.Listen(s.network, s.address) //nolint:noctx // it lasts until Down
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.l = l
	s.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !s.add(l, conn) {
				_ = conn.Close()
				continue
			}
			go func() {
				defer s.forget(conn)
				s.serve(conn)
			}()
		}
	}()
	return nil
}

// Down closes everything, as a server that is stopped does.
func (s *listener) Down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.l != nil {
		err = s.l.Close()
		s.l = nil
	}
	for conn := range s.conns {
		err = errors.Join(err, conn.Close())
	}
	clear(s.conns)
	return err
}

func (s *listener) add(l net.Listener, conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.l != l {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *listener) forget(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	_ = conn.Close()
}
