package config

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"controlplane/internal/secrets"
)

// Backup is where backups are kept and when they are taken. Without an access key there are none.
type Backup struct {
	Endpoint    string         `env:"S3_ENDPOINT" validate:"omitempty,http_url"` // default: the vendor's own, by region
	Region      string         `env:"S3_REGION" envDefault:"eu-west-1" validate:"max=100"`
	Bucket      string         `env:"S3_BUCKET" envDefault:"odoo-backups" validate:"min=3,max=63"`
	Prefix      string         `env:"S3_PREFIX" envDefault:"clients/" validate:"max=200"`
	AccessKey   string         `env:"S3_ACCESS_KEY"`
	SecretKey   secrets.Secret `env:"S3_SECRET_KEY"`
	VirtualHost bool           `env:"S3_VIRTUAL_HOST" envDefault:"false"` // the bucket is a host name, not the path's first part

	Key       secrets.Secret `env:"BACKUP_KEY"`                                    // one or more, comma-separated; the first encrypts
	Zone      string         `env:"BACKUP_TIMEZONE" validate:"omitempty,timezone"` // default: SELLER_TIMEZONE
	Parallel  int            `env:"BACKUP_PARALLEL" envDefault:"2" validate:"min=1,max=64"`
	FinalDays int            `env:"FINAL_BACKUP_RETENTION" envDefault:"30" validate:"min=1,max=3650"`
	MaxAge    int            `env:"BACKUP_MAX_AGE_HOURS" envDefault:"36" validate:"min=25,max=8760"`

	Proofs      int `env:"BACKUP_PROOFS" envDefault:"1" validate:"min=1,max=3"` // trials at once
	ProofMaxAge int `env:"BACKUP_PROOF_MAX_AGE_DAYS" envDefault:"8" validate:"min=8,max=366"`

	Dir         string `env:"BACKUP_DIR"` // where uploads wait until they are looked through; default: a folder of the system's for such things
	ImportGB    int    `env:"BACKUP_IMPORT_MAX_GB" envDefault:"20" validate:"min=1,max=1024"`
	LinkMinutes int    `env:"BACKUP_LINK_MINUTES" envDefault:"15" validate:"min=1,max=1440"` // of downloads
}

// Configured reports whether there is a place for backups.
func (b Backup) Configured() bool { return b.AccessKey != "" }

// KeyPrefix is what all keys in the bucket begin with.
func (b Backup) KeyPrefix() string {
	prefix := strings.Trim(b.Prefix, "/")
	if prefix == "" {
		return ""
	}
	return prefix + "/"
}

// UploadDir is a folder of our own, whoever runs other things on this machine.
func (b Backup) UploadDir() string {
	return cmp.Or(b.Dir, filepath.Join(os.TempDir(), "odoo-hosting-uploads"))
}

// LinkLife is how long a link to download a backup is good for.
func (b Backup) LinkLife() time.Duration { return time.Duration(b.LinkMinutes) * time.Minute }

// FinalRetention is how long what a deleted client left is kept.
func (b Backup) FinalRetention() time.Duration { return time.Duration(b.FinalDays) * 24 * time.Hour }

// BackupZone is the time zone whose nights backups are taken in.
func (c Config) BackupZone() (*time.Location, error) {
	return time.LoadLocation(cmp.Or(c.Backup.Zone, c.Seller.Timezone)) //nolint:wrapcheck // checked by Load
}

// spaces are names that the add-on's checklist gives to what is S3_… here.
func spaces(environ map[string]string) {
	for _, what := range []string{"ENDPOINT", "REGION", "BUCKET", "ACCESS_KEY", "SECRET_KEY"} {
		for _, file := range []string{"", "_FILE"} {
			alias, name := "SPACES_"+what+file, "S3_"+what+file
			if environ[name] == "" && environ[alias] != "" && environ["S3_"+what] == "" && environ["S3_"+what+"_FILE"] == "" {
				environ[name] = environ[alias]
			}
		}
	}
}

// missing is about what isn't set although backups are wanted.
func (b Backup) missing(required bool) []string {
	var problems []string
	if required && b.AccessKey == "" {
		problems = append(problems, "S3_ACCESS_KEY must be set")
	}
	if !required && !b.Configured() {
		return nil
	}
	if b.SecretKey == "" {
		problems = append(problems, "S3_SECRET_KEY must be set (or S3_SECRET_KEY_FILE), as S3_ACCESS_KEY is")
	}
	if b.Key == "" {
		return append(problems, "BACKUP_KEY must be set (or BACKUP_KEY_FILE), as S3_ACCESS_KEY is")
	}
	for key := range strings.SplitSeq(b.Key.Reveal(), ",") {
		if len(strings.TrimSpace(key)) < minKeyBytes {
			return append(problems, "BACKUP_KEY must be 32 bytes or more (each one, if several)")
		}
	}
	return problems
}

// unsafe lists what may only be used with DEBUG=true.
func (b Backup) unsafe() []string {
	if !b.Configured() {
		return nil
	}
	var problems []string
	if isSample(b.AccessKey) || isSample(b.SecretKey.Reveal()) {
		problems = append(problems, "S3_ACCESS_KEY or S3_SECRET_KEY is a sample value; leave both out to have no backups")
	}
	if isSample(b.Key.Reveal()) {
		problems = append(problems, "BACKUP_KEY is a sample value")
	}
	return problems
}

// LoadBackup reads what a command needs that has nothing but the bucket and the key: all else may be missing or unsafe.
func LoadBackup(environ map[string]string) (Backup, error) {
	environ = maps.Clone(environ)
	maps.DeleteFunc(environ, func(name, _ string) bool {
		return !strings.HasPrefix(name, "S3_") && !strings.HasPrefix(name, "SPACES_") && !strings.HasPrefix(name, "BACKUP_KEY")
	})
	environ["DEBUG"] = "true"
	cfg, err := Load(environ, PartBackups)
	return cfg.Backup, err
}
