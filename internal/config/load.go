package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/go-playground/validator/v10"
	"github.com/joho/godotenv"

	"controlplane/internal/secrets"
)

// Part names a part of the configuration that a command can't do without.
type Part string

// The parts.
const (
	PartPlatform Part = "platform" // DATABASE_URL
	PartMigrate  Part = "migrate"  // MIGRATE_DATABASE_URL, unless DEBUG is true
	PartAuth     Part = "auth"     // SECRET_KEY
	PartSealing  Part = "sealing"  // DATA_KEY
	PartPayments Part = "payments" // PAYSTACK_SECRET_KEY
	PartCluster  Part = "cluster"  // EXTERNAL_DB_PASSWORD
	PartTLS      Part = "tls"      // what HTTPS needs, if EDGE_TLS_LISTEN is set
	PartBackups  Part = "backups"  // S3_ACCESS_KEY, S3_SECRET_KEY, BACKUP_KEY
)

// ProblemsError is every problem found, one a line, each naming its variable.
type ProblemsError []string

// Error lists them.
func (p ProblemsError) Error() string {
	return "the configuration has " + plural(len(p), "problem") + ":\n  - " + strings.Join(p, "\n  - ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Environ returns the process environment over the settings of file (usually ".env"), which need not exist.
func Environ(file string) (map[string]string, error) {
	settings, err := godotenv.Read(file)
	if errors.Is(err, os.ErrNotExist) {
		settings = map[string]string{}
	} else if err != nil {
		return nil, fmt.Errorf("read %s: it isn't a list of NAME=value lines", file)
	}
	maps.Copy(settings, env.ToMap(os.Environ()))
	return settings, nil
}

// Load checks environ and returns the configuration; parts names what the caller needs. The error is a ProblemsError.
func Load(environ map[string]string, parts ...Part) (Config, error) {
	environ = maps.Clone(environ)
	spaces(environ)
	problems := readSecretFiles(environ)
	dropEmpty(environ)
	var cfg Config
	if err := env.ParseWithOptions(&cfg, env.Options{Environment: environ}); err != nil {
		problems = append(problems, parseProblems(err)...)
	}
	cfg.trim()
	problems = append(problems, validate(cfg)...)
	problems = append(problems, cfg.missing(parts)...)
	if !cfg.Debug {
		problems = append(problems, cfg.unsafe(parts)...)
	}
	if len(problems) > 0 {
		return Config{}, ProblemsError(problems)
	}
	return cfg, nil
}

// dropEmpty makes NAME= mean the same as not setting it.
func dropEmpty(environ map[string]string) {
	maps.DeleteFunc(environ, func(_, v string) bool { return v == "" })
}

// readSecretFiles sets X from the file named by X_FILE for every secret X.
func readSecretFiles(environ map[string]string) []string {
	var problems []string
	for _, name := range secretNames(reflect.TypeFor[Config]()) {
		path := environ[name+"_FILE"]
		if path == "" {
			continue
		}
		if environ[name] != "" {
			problems = append(problems, fmt.Sprintf("%s and %s_FILE are both set", name, name))
			continue
		}
		text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s_FILE can't be read: %v", name, errors.Unwrap(err)))
			continue
		}
		environ[name] = strings.TrimSpace(string(text))
	}
	return problems
}

func secretNames(t reflect.Type) []string {
	var names []string
	for f := range fields(t) {
		if f.Type == reflect.TypeFor[secrets.Secret]() {
			names = append(names, envName(f))
		}
	}
	return names
}

// fields yields the fields of t and of its nested structs that carry an env tag.
func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("env") != "" {
				if !yield(f) {
					return
				}
				continue
			}
			if f.Type.Kind() == reflect.Struct {
				for nested := range fields(f.Type) {
					if !yield(nested) {
						return
					}
				}
			}
		}
	}
}

func envName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
	return name
}

// parseProblems names the variables that can't be parsed. The library's own text quotes values, so it isn't used.
func parseProblems(err error) []string {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []string{"the environment can't be read"}
	}
	var problems []string
	for _, e := range all.Errors {
		var parse env.ParseError
		if errors.As(e, &parse) {
			problems = append(problems, fmt.Sprintf("%s is not a valid %s", nameOf(parse.Name), kindText(parse.Type)))
			continue
		}
		problems = append(problems, "a variable can't be read")
	}
	return problems
}

func nameOf(field string) string {
	for f := range fields(reflect.TypeFor[Config]()) {
		if f.Name == field {
			return envName(f)
		}
	}
	return field
}

func kindText(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the rest share one text
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "whole number"
	case reflect.Slice:
		return "comma-separated list"
	default:
		return "value"
	}
}

func validate(cfg Config) []string {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(envName)
	_ = v.RegisterValidation("cors_origin", func(fl validator.FieldLevel) bool { return validOrigin(fl.Field().String()) })
	err := v.Struct(cfg)
	var invalid validator.ValidationErrors
	if !errors.As(err, &invalid) {
		return nil
	}
	var problems []string
	for _, f := range invalid {
		name, _, _ := strings.Cut(f.Field(), "[")
		problem := name + " " + ruleText(f)
		if !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}
	return problems
}

func ruleText(f validator.FieldError) string {
	switch f.Tag() {
	case "required":
		return "must be set"
	case "oneof":
		return "must be one of: " + f.Param()
	case "eq":
		return "must be " + f.Param()
	case "min":
		return "must be at least " + f.Param()
	case "max":
		return "must be at most " + f.Param()
	case "http_url":
		return "must be an http:// or https:// URL"
	case "cors_origin":
		return "must list origins like https://app.example.com, without paths; \"*\" can't be combined with credentials"
	default:
		return "is not valid"
	}
}

// validOrigin refuses "*": credentials are allowed, and browsers (and we) refuse the combination.
func validOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.Path == "" && u.RawQuery == "" && u.User == nil
}

func (c *Config) trim() {
	origins := make([]string, 0, len(c.CORSOrigins))
	for _, o := range c.CORSOrigins {
		if o = trimSlash(strings.TrimSpace(o)); o != "" {
			origins = append(origins, o)
		}
	}
	c.CORSOrigins = origins
	c.BaseDomain = strings.ToLower(strings.Trim(strings.TrimSpace(c.BaseDomain), "."))
	if c.Cluster.Database == "template1" { // the checklist's value; nobody should stay connected to a template
		c.Cluster.Database = "postgres"
	}
}

func trimSlash(s string) string { return strings.TrimRight(s, "/") }
