// Package pgtools is backup.Database on a PostgreSQL server of 15 or later: a snapshot is a transaction of ours that exports it, and what
// PostgreSQL's own programs do runs in a container of a server's image, whose version is the server's.
package pgtools

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"controlplane/internal/backup"
	"controlplane/internal/errs"
	"controlplane/internal/secrets"
)

// Tools runs programs of a server's image; see the Docker runtime's RunTool.
type Tools interface {
	RunTool(ctx context.Context, name, tenant, image string, command []string, stdin io.Reader, stdout io.Writer) error
}

// Options name the server (EXTERNAL_DB_*) and the image that has its programs. All but SSLMode and RootCertFile are required.
type Options struct {
	Host    string
	Port    int
	SSLMode string // "" means prefer
	Image   string // POSTGRES_IMAGE
	// RootCertFile is what the server is verified by, where SSLMode is verify-ca or verify-full: here and by the programs.
	RootCertFile string
	Tools        Tools
}

// Server is the tenants' server.
type Server struct {
	opts Options
	root []byte // what RootCertFile holds

	mu      sync.Mutex
	version string // of the image's programs, once known
}

var _ backup.Database = (*Server)(nil)

// New returns a Server; it doesn't connect.
func New(o Options) (*Server, error) {
	if o.Host == "" || o.Port == 0 || o.Image == "" || o.Tools == nil {
		return nil, errors.New("backups need the tenants' database server and an image with its programs")
	}
	if o.SSLMode == "" {
		o.SSLMode = "prefer"
	}
	s := &Server{opts: o}
	if o.RootCertFile != "" {
		var err error
		if s.root, err = os.ReadFile(o.RootCertFile); err != nil {
			return nil, fmt.Errorf("read the root certificate of the database server: %w", err)
		}
	}
	return s, nil
}

// connect connects as the tenant's role.
func (s *Server) connect(ctx context.Context, a backup.Access) (*pgx.Conn, error) {
	server := fmt.Sprintf("host=%s port=%d sslmode=%s", quoted(s.opts.Host), s.opts.Port, quoted(s.opts.SSLMode))
	if s.opts.RootCertFile != "" {
		server += " sslrootcert=" + quoted(s.opts.RootCertFile)
	}
	cfg, err := pgx.ParseConfig(server)
	if err != nil {
		return nil, fmt.Errorf("set up a connection to %s: %w", net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.Port)), err)
	}
	cfg.Database, cfg.User, cfg.Password = a.Database, a.Role, a.Password.Reveal()
	cfg.ConnectTimeout = 10 * time.Second
	for name, value := range map[string]string{
		"application_name": "backup", "timezone": "UTC", "search_path": "public, pg_catalog",
		"statement_timeout": "0", "idle_in_transaction_session_timeout": "0",
		"client_connection_check_interval": "10s", // what we gave up ends there, too
	} {
		cfg.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, classify(fmt.Errorf("connect to database %s as its owner: %w", a.Database, err))
	}
	return conn, nil
}

// quoted quotes a value of a connection string.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// withPassword keeps the password out of arguments and environment, which the whole host may read: it comes first on the program's input,
// and goes into a file in memory that only the program's user can read.
const withPassword = `umask 077 && IFS= read -r line && printf '%s\n' "$line" >/tmp/pgpass && export PGPASSFILE=/tmp/pgpass && ` //nolint:gosec // where it comes from, not what it is

// withRoot has the certificate come after it, for the programs to verify the server by.
const withRoot = `IFS= read -r line && printf '%s' "$line" | base64 -d >/tmp/root.crt && export PGSSLROOTCERT=/tmp/root.crt && `

// run runs a program in the container; script follows withPassword and gets args as its "$@", of which the first ends up connecting.
func (s *Server) run(ctx context.Context, a backup.Access, script string, args []string, stdin io.Reader, stdout io.Writer) error {
	before, first := withPassword, passLine(a.Password)
	if len(s.root) > 0 {
		before, first = before+withRoot, first+base64.StdEncoding.EncodeToString(s.root)+"\n"
	}
	command := append([]string{"sh", "-c", before + script, "sh"}, args...)
	input := io.MultiReader(strings.NewReader(first), stdin)
	return s.opts.Tools.RunTool(ctx, a.Tool, a.TenantID.String(), s.opts.Image, command, input, stdout)
}

func passLine(password secrets.Secret) string {
	return "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password.Reveal()) + "\n"
}

// target is the connection string for programs.
func (s *Server) target(a backup.Access) string {
	return fmt.Sprintf("--dbname=host=%s port=%d sslmode=%s user=%s dbname=%s application_name=backup",
		quoted(s.opts.Host), s.opts.Port, quoted(s.opts.SSLMode), quoted(a.Role), quoted(a.Database))
}

// versionTimeout has room for an engine that is busy.
const versionTimeout = 2 * time.Minute

// toolVersion is what the image's pg_dump says it is, asked once.
func (s *Server) toolVersion(ctx context.Context, a backup.Access) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version != "" {
		return s.version, nil
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(ctx, versionTimeout) // others wait for the lock
	defer cancel()
	err := s.opts.Tools.RunTool(ctx, a.Tool, a.TenantID.String(), s.opts.Image, []string{"pg_dump", "--version"}, strings.NewReader(""), &out)
	if err != nil {
		return "", fmt.Errorf("ask pg_dump for its version: %w", err)
	}
	fields := strings.Fields(out.String()) // "pg_dump (PostgreSQL) 17.6 (Debian …)"
	if len(fields) < 3 {
		return "", fmt.Errorf("pg_dump says %q when asked for its version", out.String())
	}
	s.version = fields[2]
	return s.version, nil
}

// checkVersion is fits for a server that there is no connection to.
func (s *Server) checkVersion(ctx context.Context, a backup.Access) error {
	conn, err := s.connect(ctx, a)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return s.fits(ctx, a, conn)
}

// fits refuses programs of another version than the server's: an older pg_dump can't read it, and what a newer one writes may not be
// taken back.
func (s *Server) fits(ctx context.Context, a backup.Access, conn *pgx.Conn) error {
	tool, err := s.toolVersion(ctx, a)
	if err != nil {
		return err
	}
	if server := conn.PgConn().ParameterStatus("server_version"); major(tool) != major(server) {
		return backup.ErrToolVersion.WithCause(fmt.Errorf("pg_dump of image %s is %s, the server %s", s.opts.Image, tool, server))
	}
	return nil
}

func major(version string) string {
	digits, _, _ := strings.Cut(version, ".")
	digits, _, _ = strings.Cut(digits, " ")
	return digits
}

// tooManyTempFiles is what the server says to a query that writes more temporary files than its role may.
const tooManyTempFiles = "53400"

// bounded is classify where ctx has a bound of ours with a cause: what of a tenant's database hasn't ended by then is that, and not an outage,
// which would be waited for.
func bounded(ctx context.Context, err error) error {
	var known *errs.Error
	if errors.As(context.Cause(ctx), &known) {
		return known.WithCause(err)
	}
	return classify(err)
}

// classify marks errors that mean that the server can't be reached just now.
func classify(err error) error {
	var connect *pgconn.ConnectError
	var pg *pgconn.PgError
	code := ""
	if errors.As(err, &pg) {
		code = pg.Code
	}
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(code, "28"), strings.HasPrefix(code, "3D"): // it answers, and refuses
		return err
	case errors.As(err, &connect), pgconn.Timeout(err), pgconn.SafeToRetry(err), strings.HasPrefix(code, "08"),
		strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "53") && code != tooManyTempFiles:
		return backup.ErrDatabaseUnreachable.WithCause(err)
	}
	return err
}
