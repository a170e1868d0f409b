package provision

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"

	"controlplane/internal/ops"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// Ports that Odoo listens on inside its container.
const (
	httpPort  = 8069
	eventPort = 8072 // WebSocket connections, where there are workers
)

// spareConnections of a role's limit are left for a backup, a password reset and a person.
const spareConnections = 4

// odooConf is everything in odoo.conf that differs between tenants.
type odooConf struct {
	Host            string
	Port            int
	SSLMode         string
	Database        string // and its role
	Password        secrets.Secret
	MasterPassword  secrets.Secret
	Workers         int
	MemoryMB        int
	ConnectionLimit int
	NoJobs          bool // scheduled jobs don't run
}

func confOf(p tenants.Plan) odooConf {
	return odooConf{Workers: p.Workers, MemoryMB: p.MemoryMB, ConnectionLimit: p.DBConnections}
}

// processes is how many processes hold connections: the one, or the parent with its workers, a cron worker and the event process.
func (c odooConf) processes() int {
	if c.Workers == 0 {
		return 1
	}
	return c.Workers + 3
}

// maxConnections is db_maxconn, which counts per process, so that all of them together stay below the role's limit.
func (c odooConf) maxConnections() int {
	return max((c.ConnectionLimit-spareConnections)/c.processes(), 1)
}

// softMemoryMB is when a process is replaced after its request. Two of them may be at it at the same time; a process alone leaves a quarter
// of the container's memory for its reports' helpers.
func (c odooConf) softMemoryMB() int {
	return min(c.MemoryMB*2/max(c.processes()-1, 1), c.MemoryMB*3/4)
}

// eventPort is where WebSocket connections go.
func (c odooConf) eventPort() int {
	if c.Workers == 0 {
		return httpPort
	}
	return eventPort
}

func (c odooConf) cronThreads() int {
	if c.NoJobs {
		return 0
	}
	return 1
}

// render writes the file. The values are ours and checked here all the same: a line break in one could add an option.
func (c odooConf) render() ([]byte, error) {
	const megabyte = 1 << 20
	soft := c.softMemoryMB()
	options := [][2]any{
		{"addons_path", addonsDir},
		{"data_dir", dataDir},
		{"with_demo", "False"},
		{"db_host", c.Host},
		{"db_port", c.Port},
		{"db_sslmode", c.SSLMode},
		{"db_name", c.Database},
		{"db_user", c.Database},
		{"db_password", c.Password.Reveal()},
		{"db_maxconn", c.maxConnections()},
		{"dbfilter", "^" + c.Database + "$"},
		{"list_db", "False"},
		{"admin_passwd", c.MasterPassword.Reveal()},
		{"proxy_mode", "True"},
		{"http_interface", "0.0.0.0"},
		{"http_port", httpPort},
		{"gevent_port", eventPort},
		{"workers", c.Workers},
		{"max_cron_threads", c.cronThreads()},
		{"limit_memory_soft", soft * megabyte},
		{"limit_memory_hard", soft * 5 / 4 * megabyte},
		{"limit_request", 65536},
		{"limit_time_cpu", 120},
		{"limit_time_real", 240},
		{"limit_time_real_cron", 1800},
		{"log_level", "info"},
	}
	var b bytes.Buffer
	b.WriteString("[options]\n")
	for _, o := range options {
		line := fmt.Sprintf("%s = %v", o[0], o[1])
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.HasSuffix(line, "= ") {
			return nil, fmt.Errorf("the value of %s can't be written to odoo.conf", o[0])
		}
		b.WriteString(line + "\n")
	}
	return b.Bytes(), nil
}

// confFile is the file as it lies in the container: for Odoo's own user to read and nobody to write.
func confFile(content []byte, image Image) File {
	return File{Path: confPath, Mode: 0o400, UID: image.UID, GID: image.GID, Content: content}
}

// conf is the tenant's odoo.conf, with the files that go with it. In quarantine no name can be looked up, so that the database server's address
// stands for it.
func (s *Service) conf(ctx context.Context, w work, image Image) ([]File, error) {
	var address netip.Addr
	c := confOf(w.plan)
	c.Host, c.Port, c.SSLMode = s.tenantDatabaseHost(gatewayOf(w.subnet)), s.opts.DatabasePort, s.opts.SSLMode
	c.Database, c.Password, c.MasterPassword = w.tenant.DBName, w.secrets.DBPassword, w.secrets.MasterPassword
	if w.tenant.QuarantinedAt != nil {
		c.NoJobs = true
		var err error
		if address, err = s.databaseAddress(ctx); err != nil {
			return nil, err
		}
		c.Host = s.hostWithoutNames(c.Host, address)
	}
	content, err := c.render()
	if err != nil {
		return nil, ops.Permanent(err)
	}
	return s.connectionFiles(content, image, address), nil
}
