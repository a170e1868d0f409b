package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"

	// What a reverse proxy needs of Caddy.
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

const (
	rounds       = 5
	roundSeconds = 3
	callers      = 32
	paceRounds   = 3
	pacePerSec   = 500
	caddyRole    = "caddy"

	ticksPerSecond = 100 // of the kernel's statistics
)

// runCaddy is a Caddy without anything of ours: what "caddy reverse-proxy --from :PORT --to UPSTREAM" runs.
func runCaddy(ctx context.Context, listen, to string) error {
	type object = map[string]any
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"level": "ERROR"}}},
		"apps": object{"http": object{"servers": object{"proxy": object{
			"listen": []string{listen}, "automatic_https": object{"disable": true},
			"routes": []object{{"handle": []object{{"handler": "reverse_proxy", "upstreams": []object{{"dial": to}}}}}},
		}}}},
	})
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	<-ctx.Done()
	return caddy.Stop()
}

// nginxConf is Debian's nginx.conf with a proxy as everybody writes it, connections to the upstream kept.
const nginxConf = `
worker_processes auto;
daemon off;
pid DIR/nginx.pid;
error_log DIR/error.log;
events { worker_connections 768; }
http {
	sendfile on;
	tcp_nopush on;
	access_log DIR/access.log;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	upstream odoo { server 127.0.0.1:UPSTREAM; keepalive 64; }
	server {
		listen LISTEN;
		location / {
			proxy_pass http://odoo;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto $scheme;
		}
	}
}
`

// proxy is one of those compared.
type proxy struct {
	name, address string
	pid           int
	stop          func()
}

// cpu is the processor time that it and its children have used.
func (p proxy) cpu() time.Duration {
	var ticks int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// "pid (comm) state ppid …"; comm may hold blanks, so read from its end.
		head, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		pid, _, _ := strings.Cut(head, " ")
		if own := strconv.Itoa(p.pid); len(f) < 13 || pid != own && f[1] != own {
			continue
		}
		for _, field := range f[11:13] {
			n, _ := strconv.Atoi(field)
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// compared starts all three.
func (b *bench) compared(ctx context.Context, dir string) ([]proxy, error) {
	all := []proxy{{name: ours, address: b.address, pid: b.edge.PID(), stop: func() {}}}
	to := "127.0.0.1:" + strconv.Itoa(b.up.port)
	for name, command := range map[string]func(listen string) (*exec.Cmd, error){
		"Caddy": func(listen string) (*exec.Cmd, error) {
			self, err := os.Executable()
			return exec.CommandContext(ctx, self, caddyRole, listen, to), err
		},
		"nginx": func(listen string) (*exec.Cmd, error) {
			path, err := exec.CommandContext(ctx, "scripts/nginx.sh").Output()
			if err != nil {
				return nil, fmt.Errorf("find nginx: %w", err)
			}
			text := strings.NewReplacer("DIR", dir, "UPSTREAM", strconv.Itoa(b.up.port), "LISTEN", listen).Replace(nginxConf)
			file := filepath.Join(dir, "nginx.conf")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return nil, err
			}
			return exec.CommandContext(ctx, strings.TrimSpace(string(path)), "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log")), nil
		},
	} {
		listen, err := free()
		if err != nil {
			return all, err
		}
		cmd, err := command(listen)
		if err != nil {
			return all, err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
		if err := cmd.Start(); err != nil {
			return all, fmt.Errorf("start %s: %w", name, err)
		}
		all = append(all, proxy{name: name, address: listen, pid: cmd.Process.Pid, stop: func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}})
		if err := answers(ctx, listen, "localhost"); err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}
