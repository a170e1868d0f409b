package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const askTimeout = 10 * time.Second

// caller is one connection that asks for the same thing again and again. It does as little as can be, since it shares the processors.
type caller struct {
	address string
	request []byte
	conn    net.Conn
	in      *bufio.Reader
}

func newCaller(address, host string) *caller {
	return &caller{address: address, request: []byte("GET /web HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")}
}

// ask makes one request and returns the status and which upstream answered. What fails isn't tried again.
func (c *caller) ask() (status int, by string, err error) {
	defer func() {
		if err != nil {
			c.hangUp()
		}
	}()
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.address, askTimeout); err != nil {
			return 0, "", err
		}
		c.in = bufio.NewReaderSize(c.conn, 8<<10)
	}
	if err = c.conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return 0, "", err
	}
	if _, err = c.conn.Write(c.request); err != nil {
		return 0, "", err
	}
	return c.answer()
}

func (c *caller) answer() (status int, by string, err error) {
	length, ends := -1, false
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, "", err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if first {
			if len(line) < 12 {
				return 0, "", fmt.Errorf("an answer that begins %q", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, "", err
			}
			continue
		}
		name, value, _ := strings.Cut(string(line), ": ")
		switch strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil {
				return 0, "", err
			}
		case "connection":
			ends = value == "close"
		case "x-upstream":
			by = value
		}
	}
	if length < 0 {
		return 0, "", errors.New("an answer without a length")
	}
	if _, err = io.CopyN(io.Discard, c.in, int64(length)); err != nil {
		return 0, "", err
	}
	if ends {
		c.hangUp()
	}
	return status, by, nil
}

func (c *caller) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// result is what a round of requests came to.
type result struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       float64 // µs of the proxy for each request
	failed    int
}

// press asks over so many connections, each as fast as it gets answers, for so long.
func press(ctx context.Context, address, host string, connections int, last time.Duration) result {
	var mu sync.Mutex
	var all []time.Duration
	var failed int
	var wg sync.WaitGroup
	end := time.Now().Add(last)
	for range connections {
		wg.Go(func() {
			c := newCaller(address, host)
			defer c.hangUp()
			var took []time.Duration
			bad := 0
			for ctx.Err() == nil {
				began := time.Now()
				if began.After(end) {
					break
				}
				if status, _, err := c.ask(); err != nil || status != 200 {
					bad++
					continue
				}
				took = append(took, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, took...), failed+bad
		})
	}
	wg.Wait()
	return summary(all, last, failed)
}

// pace asks at a fixed rate, whether or not earlier requests were answered: a stall counts for all that it delays.
func pace(ctx context.Context, address, host string, perSecond int, last time.Duration) result {
	var mu sync.Mutex
	var all []time.Duration
	var failed int
	var wg sync.WaitGroup
	due := make(chan time.Time, perSecond)
	for range 32 {
		wg.Go(func() {
			c := newCaller(address, host)
			defer c.hangUp()
			for at := range due {
				status, _, err := c.ask()
				mu.Lock()
				if err != nil || status != 200 {
					failed++
				} else {
					all = append(all, time.Since(at))
				}
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
	for i := range int(last.Seconds() * float64(perSecond)) {
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		if ctx.Err() != nil {
			break
		}
		due <- at
	}
	close(due)
	wg.Wait()
	return summary(all, last, failed)
}

func summary(all []time.Duration, last time.Duration, failed int) result {
	if len(all) == 0 {
		return result{failed: failed}
	}
	slices.Sort(all)
	return result{
		perSecond: float64(len(all)) / last.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100], failed: failed,
	}
}
