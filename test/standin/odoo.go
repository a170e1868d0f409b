package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	confPath      = "/etc/odoo/odoo.conf"
	connectWithin = 30 * time.Second
)

// odoo does one of the four things that Odoo is started for.
func odoo(args []string) error {
	conf, err := readConf(confPath)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch i := slices.Index(args, "--init"); {
	case len(args) > 0 && args[0] == "shell":
		return shell(ctx, conf)
	case len(args) == 3 && args[0] == "neutralize" && args[2] == conf["db_name"]:
		return neutralize(ctx, conf)
	case i >= 0 && i+1 < len(args):
		return install(ctx, conf, strings.Split(args[i+1], ","))
	case len(args) == 0:
		return serve(ctx, conf)
	}
	return fmt.Errorf("these arguments aren't known here: %q", args)
}

// conf is odoo.conf.
type conf map[string]string

func readConf(path string) (conf, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a fixed path
	if err != nil {
		return nil, err
	}
	c := conf{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, "="); ok {
			c[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	for _, needed := range []string{"db_host", "db_port", "db_name", "db_user", "db_password", "data_dir", "http_port", "workers"} {
		if c[needed] == "" {
			return nil, fmt.Errorf("odoo.conf lacks %s", needed)
		}
	}
	return c, nil
}

func (c conf) filestore() string { return c["data_dir"] + "/filestore/" + c["db_name"] }

// connect tries again for a while, as long as the server is away.
func (c conf) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	cfg, err := pgx.ParseConfig("sslmode=" + c["db_sslmode"] + " host=" + c["db_host"] + " port=" + c["db_port"])
	if err != nil {
		return nil, err
	}
	cfg.Database, cfg.User, cfg.Password = c["db_name"], c["db_user"], c["db_password"]
	cfg.ConnectTimeout = 5 * time.Second
	for {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		var away *net.OpError
		if err == nil || !errors.As(err, &away) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// shell takes what it is told to run and makes an attachment, as the real one's assets do.
func shell(ctx context.Context, c conf) error {
	program, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return attach(ctx, conn, c, "assets", program)
}
