// Command standin poses as Odoo, as far as the control plane can see: it takes the same odoo.conf and the same command lines, installs the
// few tables that a clone's identity is written to, keeps a file in the filestore, and answers the pages that are probed. It starts in
// milliseconds and takes a few megabytes, so that tests can make and kill tenants by the hundred. One static binary is every program of
// its image: env, bash, true, find and odoo.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if err := run(filepath.Base(os.Args[0]), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

func run(program string, args []string) error {
	switch program {
	case "env":
		return replace(args)
	case "bash":
		return script(args)
	case "true":
		return nil
	case "find":
		return find(args)
	case "odoo":
		return odoo(args)
	}
	return fmt.Errorf("there is no %s in this image", program)
}

// replace becomes the program named by the first argument, as env does: the container's first process is Odoo itself.
func replace(args []string) error {
	if len(args) == 0 {
		return nil
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ()) //nolint:gosec // it is what env is for
}

// find removes empty directories below one, which is all that it is asked for.
func find(args []string) error {
	if len(args) == 0 || strings.Join(args[1:], " ") != "-mindepth 1 -type d -empty -delete" {
		return fmt.Errorf("find: these arguments aren't known here: %q", args)
	}
	var dirs []string
	err := filepath.WalkDir(args[0], func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != args[0] {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		_ = os.Remove(dir) // one that isn't empty stays
	}
	return err
}

// script is bash -ec TEXT NAME ARGUMENT…, for scripts of plain commands: comments, words, "$1" and <file are understood.
func script(args []string) error {
	if len(args) < 3 || args[0] != "-ec" {
		return fmt.Errorf("bash: only -ec is known here, not %q", args)
	}
	text, arguments := args[1], args[3:]
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for i, a := range arguments {
			line = strings.ReplaceAll(line, fmt.Sprintf(`"$%d"`, i+1), a)
		}
		if err := command(strings.Fields(line)); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

func command(words []string) error {
	var args []string
	input := os.DevNull
	for _, w := range words {
		if name, ok := strings.CutPrefix(w, "<"); ok {
			input = name
			continue
		}
		args = append(args, w)
	}
	in, err := os.Open(input) //nolint:gosec // the script names it
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // the script names it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, os.Stdout, os.Stderr
	return cmd.Run()
}
